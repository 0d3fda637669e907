"""Runs a network on images of any size: execution backends, tiling, background skipping."""
