"""Evaluation on pairs of LR and HR images: `python -m model.evaluate`.

Imports `data`, `inference`, `metrics`, `network` and `imaging`.
"""
