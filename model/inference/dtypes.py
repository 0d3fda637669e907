"""Compute dtypes that networks run in. Imports no framework: a command line lists them."""

import os
from pathlib import Path

# What carries grey levels is float32 in all of them.
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
# CPU flags, in Linux's spelling, with which bfloat16 is faster; measured on AVX-512 BF16.
_BFLOAT16_FLAGS = frozenset(("avx512_bf16", "amx_bf16"))
CPU_INFO = Path("/proc/cpuinfo")


def fastest_on_cpu() -> str:
    """Returns the compute dtype that is fastest on this machine's CPU.

    With AVX-512 BF16, bfloat16 takes half the time of float32 (`docs/speed.md`); without it, more.
    """
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":  # its own bfloat16 kernels are slow
        return "float32"
    return "bfloat16" if _BFLOAT16_FLAGS & _cpu_flags() else "float32"


def _cpu_flags() -> set[str]:
    """Flags of the processor from /proc/cpuinfo; empty on other systems."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return set()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return set(flags.partition(":")[2].split())
