"""Compiles the numeric kernels into numba's cache, so that no first start and no first test waits for them.

Run by `make setup`: `python -m edge_nodes.warm`.
"""

import sys
import time

from actors.gate.kernels import warm


def main() -> None:
    """Compile every kernel by using it once."""
    started = time.perf_counter()
    warm()
    sys.stdout.write(f"kernels compiled in {time.perf_counter() - started:.1f} s\n")


if __name__ == "__main__":
    main()
