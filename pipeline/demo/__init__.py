"""Runs the whole job on a sample catalog and an S3 server on loopback: `python -m pipeline.demo`.

The loopback server also serves the tests and the benchmarks.
"""
