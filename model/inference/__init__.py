"""Runs a network on images of any size: execution backends, tiling, background skipping.

Imports `model.imaging`, `model.metrics` and `model.network`; only `backends` and `upscaler` import
TensorFlow.
"""
