"""Files to pixels and back: formats, alpha, resampling, sandboxed decoders. No TensorFlow."""
