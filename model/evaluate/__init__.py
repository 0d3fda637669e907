"""Evaluation on pairs of LR and HR images: `python -m model.evaluate`."""
