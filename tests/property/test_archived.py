"""The archive's types keep every decision, whatever its bytes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sent import SOURCE
from tidegate.archived import decisions, restored
from tidegate.history import rows_of, sources_of
from tidegate.records import DECISION

NAMES = DECISION.names or ()


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40), ascii_only=st.booleans())
@settings(max_examples=60)
def test_stored_decisions_of_any_bytes_come_back_to_the_bit(seed: int, count: int, ascii_only: bool) -> None:  # noqa: FBT001
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 128 if ascii_only else 256, (count, DECISION.itemsize), dtype=np.uint8)
    raw[rng.random(raw.shape) < 0.3] = 0
    rows = np.frombuffer(raw.tobytes(), DECISION)
    first = int(rng.integers(0, count))

    stored = decisions(SOURCE, rows)
    back = restored(stored.slice(first), ("source", *NAMES))

    assert rows_of(back).tobytes() == rows[first:].tobytes()
    assert sources_of(back)[1] == [SOURCE]
