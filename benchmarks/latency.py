"""The clock of benchmarks/serving.py and of its counterpart in the peers' environment: the standard
library alone."""

import time
from collections.abc import Callable


def percentiles(call: Callable[[], object], calls: int, warm_up: int) -> dict[str, float]:
    """p50 and p99 of `calls` calls in milliseconds, after `warm_up` others."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - started))
    times.sort()
    return {
        "p50_ms": round(times[len(times) // 2], 3),
        "p99_ms": round(times[int(0.99 * (len(times) - 1))], 3),
    }
