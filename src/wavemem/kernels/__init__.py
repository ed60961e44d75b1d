"""The recurrences as fast scans, each with a plain PyTorch reference beside it."""
