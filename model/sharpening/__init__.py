"""Measures how a shop's thumbnails were sharpened: `python -m model.sharpening THUMBNAILS`."""
