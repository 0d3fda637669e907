"""Images out of a run: `python -m pipeline.read OUT FOLDER`."""
