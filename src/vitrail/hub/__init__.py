"""Weights in and out: Vitrail's own folders, timm's, transformers', and the Hub."""
