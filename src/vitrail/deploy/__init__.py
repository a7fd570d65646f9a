"""Shipping a model."""
