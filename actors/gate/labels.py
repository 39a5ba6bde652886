"""The labels a gate has applied: one verdict a payment stands, the one known last."""

import hashlib
from collections import OrderedDict
from typing import Any, Final

from tidegate.limits import LABELS_MAX
from tidegate.records import event_body

_DIGEST_BYTES: Final = 16
_SAID: Final = ("label_id", "merchant", "transaction_id", "verdict", "source", "known_us")


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

    def effect(self, values: dict[str, Any]) -> int:
        """Return by how much the known frauds of a label's payment change once it is added; changes nothing."""
        old = self._standing.get((values["merchant"], values["transaction_id"]))
        before = old is not None and old[2] == "fraud"
        return int(self._stands(values)[2] == "fraud") - int(before)

    def add(self, values: dict[str, Any]) -> int:
        """Remember a label and return by how much the known frauds of its payment change: -1, 0 or 1."""
        change = self.effect(values)
        self._standing[values["merchant"], values["transaction_id"]] = self._stands(values)
        self._by_id[values["label_id"]] = _digest(values)
        self._trim()
        return change

    def _stands(self, values: dict[str, Any]) -> tuple[int, str, str]:
        new = (values["known_us"], values["label_id"], values["verdict"])
        old = self._standing.get((values["merchant"], values["transaction_id"]))
        return new if old is None else max(old, new)

    def _trim(self) -> None:
        while len(self._by_id) > self._bound:
            self._by_id.popitem(last=False)
        while len(self._standing) > self._bound:
            self._standing.popitem(last=False)


def _digest(values: dict[str, Any]) -> bytes:
    """Return what tells two bodies of one id apart (BLAKE2b, RFC 7693); what a receipt says besides isn't the label."""
    said: dict[str, Any] = {name: values[name] for name in _SAID if name in values}
    return hashlib.blake2b(event_body(said), digest_size=_DIGEST_BYTES).digest()
