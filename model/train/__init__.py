"""Training: `python -m model.train`."""
