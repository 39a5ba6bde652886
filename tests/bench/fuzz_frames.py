"""`python -m tests.bench.fuzz_frames --seconds N`: mangled frames for as long as asked; a table, then one JSON object.

Cases are tried in processes of their own, so that a crash of one is seen, too, and named. Fails on anything but a
refusal, on a case that takes longer than a second of CPU, and on memory that grows.
"""

import argparse
import collections
import json
import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection
from typing import Any, Final

from tests.property.mangled import examples, tried

_BLOCK: Final = 20_000
_WARM: Final = 1_000
_CPU_S_MAX: Final = 1.0
_GROWTH_MIB_MAX: Final = 64.0


def _rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def block(first: int, until: float, told: Connection) -> None:
    """Try cases from `first` on; say each before it is tried, and in the end what came of them."""
    reasons: collections.Counter[str] = collections.Counter()
    examples()
    slowest, before = 0.0, 0.0
    for case in range(first, first + _BLOCK):
        if case > first and time.monotonic() > until:
            break
        told.send(case)
        began = time.process_time()
        reasons[tried(case)] += 1
        slowest = max(slowest, time.process_time() - began)
        before = _rss_mib() if case == first + _WARM else before
    told.send({"reasons": dict(reasons), "cpu_s_max": slowest, "grown_mib": _rss_mib() - before if before else 0.0})


def _run(first: int, until: float) -> dict[str, Any]:
    """Run a block in a process of its own.

    Raises:
        AssertionError: it ended before its time; names the case.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=block, args=(first, until, theirs))
    process.start()
    theirs.close()
    said: Any = first
    try:
        while not isinstance(said, dict):
            said = ours.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"case {said}: the decoder's process ended with {process.exitcode}") from None
    process.join()
    return dict(said)


def main() -> int:
    """Fuzz, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    given = parser.parse_args()
    until, first = time.monotonic() + given.seconds, given.first
    reasons: collections.Counter[str] = collections.Counter()
    slowest, grown = 0.0, 0.0
    while time.monotonic() < until:
        came = _run(first, until)
        first += _BLOCK
        reasons.update(came["reasons"])
        slowest, grown = max(slowest, came["cpu_s_max"]), max(grown, came["grown_mib"])
    for reason, count in reasons.most_common():
        print(f"{reason:12}{count:>10,}")
    print(f"slowest case {slowest * 1e3:.1f} ms of CPU, memory grew by {grown:.1f} MiB")
    passed = slowest < _CPU_S_MAX and grown < _GROWTH_MIB_MAX
    told = {"cases": sum(reasons.values()), "reasons": dict(reasons), "cpu_s_max": round(slowest, 4)}
    print(json.dumps(told | {"grown_mib": round(grown, 1), "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
