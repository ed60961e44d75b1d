"""Measurements of speed, as ratios within one run: `python -m wavemem.benchmarks`."""
