"""Weights in and out: Vitrail's own folders, and those of timm, transformers and the Hub."""
