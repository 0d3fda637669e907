"""Exports the images of a run to a folder: `python -m pipeline.read OUT FOLDER`.

Reads rows and images by ranged requests; loads neither TensorFlow nor Beam.
"""
