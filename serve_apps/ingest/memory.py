"""Keys, registry and quarantine in memory: for tests and simulation."""

import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from serve_apps.ingest.ports import Case, Refusal, SiteEntry, SiteKey
from serve_apps.ingest.sharing import Share, crowding, joined
from tidegate.limits import LABELS_POSTED_MAX, TIDE_CASES_BYTES_MAX, TIDE_CASES_MAX, TIDE_REFUSALS_MAX


class MemoryKeys:
    """The keys that sites have enrolled."""

    def __init__(self, *keys: SiteKey) -> None:
        self.of = {key.key_id: key for key in keys}

    def key(self, key_id: str) -> SiteKey | None:
        """Return a key, revoked or not."""
        return self.of.get(key_id)


class MemoryBook:
    """Labels that were posted."""

    def __init__(self, labels_max: int = LABELS_POSTED_MAX) -> None:
        self._labels_max = labels_max
        self._digests: dict[str, bytes] = {}

    def digests(self, label_ids: Collection[str]) -> dict[str, bytes]:
        """Return what is known of them."""
        return {name: self._digests[name] for name in label_ids if name in self._digests}

    def note(self, digests: Mapping[str, bytes]) -> None:
        """Remember labels."""
        for name, digest in digests.items():
            self._digests.setdefault(name, digest)
        for name in list(self._digests)[: -self._labels_max]:
            del self._digests[name]


class MemoryRegister:
    """Sites and keys."""

    def __init__(self) -> None:
        self._sites: dict[str, SiteEntry] = {}
        self._keys: dict[str, SiteKey] = {}

    def site(self, name: str) -> SiteEntry | None:
        """Return a site."""
        return self._sites.get(name)

    def sites(self, *, after: str, items: int) -> list[SiteEntry]:
        """Return sites in the order of their names."""
        names = sorted(self._sites)
        first = bisect.bisect_right(names, after)
        return [self._sites[name] for name in names[first : first + items]]

    def count(self) -> int:
        """Return how many sites there are."""
        return len(self._sites)

    def key(self, key_id: str) -> SiteKey | None:
        """Return a key."""
        return self._keys.get(key_id)

    def keys(self, site: str) -> list[SiteKey]:
        """Return a site's keys."""
        return [key for key in self._keys.values() if key.site == site]

    @contextmanager
    def change(self) -> Iterator["MemoryRegister"]:
        """Make one change, or none."""
        before = dict(self._sites), dict(self._keys)
        try:
            yield self
        except BaseException:
            self._sites, self._keys = before
            raise

    def put_site(self, site: SiteEntry) -> None:
        """Add or replace a site."""
        self._sites[site.name] = site

    def put_key(self, key: SiteKey) -> None:
        """Add or replace a key."""
        self._keys[key.key_id] = key


class MemoryQuarantine:
    """The cases that were kept aside, at most so many and so many bytes of them."""

    def __init__(
        self,
        cases_max: int = TIDE_CASES_MAX,
        bytes_max: int = TIDE_CASES_BYTES_MAX,
        refusals_max: int = TIDE_REFUSALS_MAX,
    ) -> None:
        self._bounds = cases_max, bytes_max
        self._refusals_max = refusals_max
        self._refusals: dict[tuple[str, str, str, bool], Refusal] = {}
        self._cases: list[tuple[Case, bytes]] = []
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
        self._make_room()

    def _make_room(self) -> None:
        while (site := crowding(self._shares(), *self._bounds)) is not None:
            self._cases.remove(next(kept for kept in self._cases if kept[0].site == site))

    def _shares(self) -> dict[str, Share]:
        shares: dict[str, Share] = {}
        for case, data in self._cases:
            before = shares.get(case.site, Share(0, 0))
            shares[case.site] = Share(before.cases + 1, before.size + len(data))
        return shares

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

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Note what was refused."""
        for each in refusals:
            key = (each.site, each.key, each.reason, each.vouched)
            before = self._refusals.pop(key, None)
            self._refusals[key] = each if before is None else joined(before, each)
        for vouched in (False, True):
            mine = [key for key, each in self._refusals.items() if each.vouched is vouched]
            for key in mine[: max(0, len(mine) - self._refusals_max)]:
                del self._refusals[key]

    def refusals(self, *, items: int, site: str | None = None) -> list[Refusal]:
        """Return what was refused, the latest first."""
        return [each for each in reversed(self._refusals.values()) if site in {None, each.site}][:items]
