"""Compute dtypes that networks run in. Imports nothing, so that a command line can list them."""

# What carries grey levels is float32 in all of them.
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
