"""Manifests as they come: their files, packing, encoding, delimiters and columns, to records."""
