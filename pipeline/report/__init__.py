"""The report of a run: `python -m pipeline.report OUT`. Reads Parquet, writes one HTML file."""
