"""The whole job on a sample catalog and an S3 server of its own: `python -m pipeline.demo`."""
