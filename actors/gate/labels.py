"""The labels a gate has applied: one verdict a payment stands, the one known last."""

import hashlib
from collections import OrderedDict
from typing import Any, Final

from tidegate.limits import LABELS_MAX
from tidegate.records import event_body

_DIGEST_BYTES: Final = 16


class Labels:
    """Remembers labels by id, and which verdict stands for a payment; bounded, oldest forgotten first."""

    def __init__(self, *, bound: int = LABELS_MAX) -> None:
        self._bound = bound
        self._by_id: OrderedDict[str, bytes] = OrderedDict()
        self._standing: OrderedDict[tuple[str, str], tuple[int, str, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def knows(self, values: dict[str, Any]) -> bool | None:
        """Tell whether this very label is known; None where its id is known with another body."""
        known = self._by_id.get(values["label_id"])
        if known is None:
            return False
        return True if known == _digest(values) else None

    def add(self, values: dict[str, Any]) -> int:
        """Remember a label and return by how much the known frauds of its payment change: -1, 0 or 1."""
        payment = (values["merchant"], values["transaction_id"])
        new = (values["known_us"], values["label_id"], values["verdict"])
        old = self._standing.get(payment)
        standing = new if old is None else max(old, new)
        self._by_id[values["label_id"]] = _digest(values)
        self._standing[payment] = standing
        self._trim()
        before = old is not None and old[2] == "fraud"
        return int(standing[2] == "fraud") - int(before)

    def _trim(self) -> None:
        while len(self._by_id) > self._bound:
            self._by_id.popitem(last=False)
        while len(self._standing) > self._bound:
            self._standing.popitem(last=False)


def _digest(values: dict[str, Any]) -> bytes:
    """Return what tells two bodies of one id apart (BLAKE2b, RFC 7693)."""
    return hashlib.blake2b(event_body(values), digest_size=_DIGEST_BYTES).digest()
