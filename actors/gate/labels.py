"""The labels a gate has applied: one verdict a payment stands, the one known last."""

from collections import OrderedDict
from typing import Any

from tidegate.limits import LABELS_MAX


class Labels:
    """Remembers labels by id, and which verdict stands for a payment; bounded, oldest forgotten first."""

    def __init__(self, *, bound: int = LABELS_MAX) -> None:
        self._bound = bound
        self._by_id: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._standing: OrderedDict[tuple[str, str], tuple[int, str, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, label_id: str) -> dict[str, Any] | None:
        """Return the label journaled under an id."""
        return self._by_id.get(label_id)

    def add(self, values: dict[str, Any]) -> int:
        """Remember a label and return by how much the known frauds of its payment change: -1, 0 or 1."""
        payment = (values["merchant"], values["transaction_id"])
        new = (values["known_us"], values["label_id"], values["verdict"])
        old = self._standing.get(payment)
        standing = new if old is None else max(old, new)
        self._by_id[values["label_id"]] = values
        self._standing[payment] = standing
        self._trim()
        before = old is not None and old[2] == "fraud"
        return int(standing[2] == "fraud") - int(before)

    def _trim(self) -> None:
        while len(self._by_id) > self._bound:
            self._by_id.popitem(last=False)
        while len(self._standing) > self._bound:
            self._standing.popitem(last=False)
