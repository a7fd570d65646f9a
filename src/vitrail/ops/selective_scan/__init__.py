"""The selective scan of Mamba: a reference, and backends that compute the same."""

from vitrail.ops.selective_scan.op import BACKENDS, resolve, selective_scan
from vitrail.ops.selective_scan.reference import Scan
from vitrail.ops.selective_scan.reference import selective_scan_resume as resume

__all__ = ["BACKENDS", "Scan", "resolve", "resume", "selective_scan"]
