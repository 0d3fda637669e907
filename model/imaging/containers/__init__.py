"""Containers of single formats: PNG chunks, AVIF boxes, TIFF directories, repairs of damage.

Imports `model.imaging.errors` only.
"""
