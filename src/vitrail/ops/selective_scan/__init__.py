"""The selective scan of Mamba: a reference, and backends that compute the same."""

from vitrail.ops.selective_scan.op import BACKENDS, resolve, selective_scan
from vitrail.ops.selective_scan.reference import Scan
from vitrail.ops.selective_scan.reference import selective_scan_step as step

__all__ = ["BACKENDS", "Scan", "resolve", "selective_scan", "step"]
