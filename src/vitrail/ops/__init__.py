"""Numerical kernels, each beside a short reference that runs in float64."""
