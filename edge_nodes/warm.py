"""Compiles the numeric kernels into numba's cache, so that no first decision and no first test waits for them.

Run by `make setup`: `python -m edge_nodes.warm`.
"""

import sys
import time

from actors.gate.answers import warm as warm_answers
from tidegate.attribution import warm as warm_attribution
from tidegate.features.kernel import warm as warm_features
from tidegate.trees import warm as warm_trees


def main() -> None:
    """Compile every kernel by using it once."""
    started = time.perf_counter()
    for warm in (warm_features, warm_trees, warm_attribution, warm_answers):
        warm()
    sys.stdout.write(f"kernels compiled in {time.perf_counter() - started:.1f} s\n")


if __name__ == "__main__":
    main()
