"""Keys and quarantine in memory: for tests and simulation."""

from collections import deque
from collections.abc import Sequence

from serve_apps.ingest.ports import Case, SiteKey
from tidegate.limits import TIDE_CASES_MAX


class MemoryKeys:
    """The keys that sites have enrolled."""

    def __init__(self, *keys: SiteKey) -> None:
        self.of = {key.key_id: key for key in keys}

    def key(self, key_id: str) -> SiteKey | None:
        """Return a key, revoked or not."""
        return self.of.get(key_id)


class MemoryQuarantine:
    """The cases that were kept aside."""

    def __init__(self) -> None:
        self._cases: deque[tuple[Case, bytes]] = deque(maxlen=TIDE_CASES_MAX)
        self._counts: dict[str, int] = {}
        self._next = 1

    def keep(self, cases: Sequence[tuple[Case, bytes]]) -> None:
        """Keep frames aside."""
        for case, data in cases:
            if any(kept == data for _, kept in self._cases):
                continue
            self._cases.append((case._replace(case_id=self._next), data))
            self._counts[case.reason] = self._counts.get(case.reason, 0) + 1
            self._next += 1

    def page(self, *, before: int | None, items: int, site: str | None = None) -> list[Case]:
        """Return cases, newest first."""
        found = [case for case, _ in reversed(self._cases) if site in {None, case.site}]
        return [case for case in found if before is None or case.case_id < before][:items]

    def frame(self, case_id: int) -> bytes | None:
        """Return the bytes of a case."""
        return next((data for case, data in self._cases if case.case_id == case_id), None)

    def counts(self) -> dict[str, int]:
        """Return how many cases were ever kept, by reason."""
        return dict(self._counts)
