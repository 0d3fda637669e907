"""Training data: HR sources, patches, degradations."""
