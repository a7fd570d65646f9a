"""Mechanisms that two papers or more share. Each is written once, here."""
