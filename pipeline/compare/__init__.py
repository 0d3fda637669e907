"""Compares two runs image by image: `python -m pipeline.compare RUN_A RUN_B`.

Reads rows and published images by ranged requests; loads no network.
"""
