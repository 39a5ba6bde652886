"""The twins in memory of the log of deltas and of a gate's orders, for tests."""

from actors.keeper.ports import Found, NoDeltasError
from tidegate.errors import TemporaryError


class MemorySource:
    """Batches by version; `begin` is the first version that was not let go, `away` how often nobody answers."""

    def __init__(self) -> None:
        self.batches: dict[int, bytes] = {}
        self.begin, self.away, self.asked_s = 0, 0, 0.0
        self.asked: list[int] = []

    def after(self, version: int) -> Found | None:
        """Return the first batch of a version or above."""
        self.asked.append(version)
        if self.away:
            self.away -= 1
            raise NoDeltasError("nobody answers", self.asked_s)
        since = max(version, self.begin)
        at = min((at for at in self.batches if at >= since), default=None)
        return None if at is None else Found(since, at + 1, self.batches[at])


class MemoryOrders:
    """What a gate was given; `away` is how often it doesn't answer."""

    def __init__(self) -> None:
        self.at, self.away = 0, 0
        self.taken: list[Found] = []
        self.current: list[int] = []

    def version(self) -> int:
        """Return where its overlay is."""
        self._answer()
        return self.at

    def take(self, found: Found) -> int:
        """Count a batch."""
        self._answer()
        self.taken.append(found)
        self.at = found.until
        return self.at

    def nothing_came(self, version: int) -> None:
        """Remember that."""
        self._answer()
        self.current.append(version)

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise TemporaryError("the gate doesn't answer")
