"""Rights metadata: reads copyright, creators and licence from a file, and writes them afresh."""
