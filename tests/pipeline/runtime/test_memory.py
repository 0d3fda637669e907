import gc

import psutil
import pyarrow as pa

from pipeline.runtime import memory


def test_memory_of_a_step_that_is_over_goes_back():
    """The C library keeps small pieces as long as one behind them is in use."""
    before = psutil.Process().memory_info().rss
    pieces = [bytes(10_000) for _ in range(20_000)]
    arrays = pa.array(range(1_000_000))
    last = pieces[-1]
    del pieces, arrays
    gc.collect()
    memory.give_back()
    assert psutil.Process().memory_info().rss - before < 100 << 20, len(last)
