"""Drawn product images: `python -m model.scenes OUT`.

Imports `imaging`.
"""
