"""The Residual Dense Network: layers, presets, loading, growth, dihedral transforms.

Imports nothing else of `model`; `presets` and `dihedral` import no framework.
"""
