"""The Residual Dense Network: layers, presets, flips, growing."""
