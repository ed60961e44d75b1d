"""Measured results: how they are stored, where they came from, and how they compare with the papers."""
