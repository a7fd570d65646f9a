"""Benchmarks beside other libraries, each run as `python -m benchmarks.NAME`."""

import parity as parity  # before any other library asks for torchvision
