"""Images between files and arrays: header, decode, encode, alpha, resampling, sandboxed decoders.

Imports numpy, Pillow and `model.files`.
"""
