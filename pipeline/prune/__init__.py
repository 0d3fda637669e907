"""Deletes old runs that no kept run refers to: `python -m pipeline.prune OUT --keep 7`.

Reads and deletes files of finished runs; loads neither TensorFlow nor Beam.
"""
