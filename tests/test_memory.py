"""Nothing of a request outlives it: the short form of bench/memory_flat.py."""

import pytest

from bench.memory_flat import measure


@pytest.mark.parametrize("threads", [1, 8])
def test_memory_is_flat_over_many_requests_however_they_end(threads):
    found = measure(20_000, threads)
    # 16,000 requests; one that left but its environ would leave some 5 KiB
    assert found[-1] - found[0] < 4096
