"""The index of answers: from a payment's identity to the place of its first answer in the journal.

Generations of one fixed hash table each (open addressing, linear probing), 16 bytes an id, so that five million ids
take 160 MiB and forgetting is dropping the oldest table. A 64-bit hash only nominates a place: the record there says
whether it is the same payment.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba import njit

from tidegate.limits import ANSWERS_AGE_US, ANSWERS_GENERATIONS, ANSWERS_MAX

_F = TypeVar("_F", bound=Callable[..., Any])
Table = np.ndarray[Any, Any]
ENTRY: Final = np.dtype([("key", "<u8"), ("place", "<i8")])
_IDS_PER_GENERATION: Final = ANSWERS_MAX // ANSWERS_GENERATIONS
_AGE_PER_GENERATION_US: Final = ANSWERS_AGE_US // (ANSWERS_GENERATIONS - 1)
_LOAD: Final = 2
"""A table has at least twice as many slots as ids: probes stay short."""


def _kernel(function: _F) -> _F:
    return cast("_F", njit(cache=True, nogil=True)(function))


@_kernel
def _find(table: Table, key: Any, skip: int) -> int:  # noqa: ANN401 - compiled scalars
    """Return the place of the `skip`-th entry of `key`, or -1."""
    mask = len(table) - 1
    at = np.int64(key & np.uint64(mask))
    while table[at].key != 0:
        if table[at].key == key:
            if skip == 0:
                return table[at].place  # type: ignore[no-any-return]
            skip -= 1
        at = (at + 1) & mask
    return -1


@_kernel
def _add(table: Table, key: Any, place: int) -> None:  # noqa: ANN401 - compiled scalars
    mask = len(table) - 1
    at = np.int64(key & np.uint64(mask))
    while table[at].key != 0:
        at = (at + 1) & mask
    table[at].key = key
    table[at].place = place


def identity(merchant: bytes, transaction_id: bytes) -> np.uint64:
    """Return the 64-bit hash of a payment's identity, never 0 (BLAKE2b, RFC 7693)."""
    digest = hashlib.blake2b(merchant + b"\x1f" + transaction_id, digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little") | 1)


class _Generation:
    """Ids of one span of time."""

    def __init__(self, started_us: int, ids_max: int) -> None:
        slots = 1 << (ids_max * _LOAD - 1).bit_length()
        self.table: Table = np.zeros(slots, ENTRY)
        self.started_us = started_us
        self.count = 0


class Answers:
    """Remembers where payments were answered, for `ANSWERS_AGE_US` or the bound of ids, whichever is shorter."""

    def __init__(self, *, ids_per_generation: int = _IDS_PER_GENERATION) -> None:
        self._ids_max = ids_per_generation
        self._generations: list[_Generation] = []

    def __len__(self) -> int:
        return sum(generation.count for generation in self._generations)

    def add(self, key: np.uint64, place: int, now_us: int) -> None:
        """Remember that the payment `key` was answered by the record at `place`."""
        newest = self._generations[-1] if self._generations else None
        if newest is None or newest.count >= self._ids_max or now_us - newest.started_us >= _AGE_PER_GENERATION_US:
            newest = _Generation(now_us, self._ids_max)
            self._generations = [*self._generations, newest][-ANSWERS_GENERATIONS:]
        _add(newest.table, key, place)
        newest.count += 1

    def find(self, key: np.uint64, is_it: Callable[[int], bool]) -> int:
        """Return the newest place remembered for `key` that `is_it` confirms, or -1."""
        for generation in reversed(self._generations):
            skip = 0
            while (place := _find(generation.table, key, skip)) >= 0:
                if is_it(place):
                    return place
                skip += 1
        return -1


def warm() -> None:
    """Compile the table's functions into their cache."""
    answers = Answers(ids_per_generation=1)
    answers.add(np.uint64(1), 1, 1)
    answers.find(np.uint64(1), bool)
