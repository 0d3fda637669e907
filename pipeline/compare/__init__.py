"""The comparison of two runs: `python -m pipeline.compare RUN RUN`."""
