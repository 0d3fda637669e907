"""Measurements of speed and of quality, each a command: `python -m benchmarks.NAME`."""
