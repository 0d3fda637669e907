"""Images between files and arrays: header, decode, encode, alpha, resampling, sandboxed decoders.

Imports numpy and Pillow, and nothing else of the project.
"""
