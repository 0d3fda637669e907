"""Names of the dtypes that a network may compute in; imports nothing."""

COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
