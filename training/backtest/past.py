"""What held when: policies, lists as they were then, and how old each model was."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from tidegate.ids import PolicyId
from tidegate.limits import HOUR_US
from tidegate.lists import ListIndex, ListsActivation, parse
from tidegate.policy.active import ActivePolicy
from tidegate.policy.terms import Policy, Rungs
from training.backtest.ports import Archive, BacktestError
from training.backtest.spans import Span

Rows = np.ndarray[Any, np.dtype[np.void]]
Modes = np.ndarray[Any, np.dtype[np.uint8]]
ListKey = tuple[str, int]
"""Source and version: versions are counted anew where a site lost its orders."""


@dataclass(slots=True)
class Past:
    """What decisions name, by those names; one set of lists is held ready, since they follow each other."""

    archive: Archive
    span: Span
    policies: Mapping[str, ActivePolicy]
    trained_us: Mapping[str, int]
    _ready: tuple[ListKey, ListIndex] | None = field(default=None, init=False)

    @classmethod
    def of(cls, archive: Archive, span: Span) -> Self:
        """Read it.

        Raises:
            BacktestError: a table isn't there, or a policy can't be read by this program.
        """
        policies: dict[str, ActivePolicy] = {}
        trained_us: dict[str, int] = {}
        for batch in archive.read("policies", span, ("policy", "from_us", "terms")):
            for row in batch.to_pylist():
                policies[row["policy"]] = _policy(**row)
        for batch in archive.read("bundles", span, ("bundle", "trained_at_us")):
            trained_us |= dict(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return cls(archive, span, policies, trained_us)

    def lists(self, source: str, version: int) -> ListIndex:
        """Return the lists of one version at one source, ready for look-up.

        Raises:
            BacktestError: the history hasn't got them.
        """
        key = source, version
        if not version:
            return ListIndex()
        if self._ready is None or self._ready[0] != key:
            self._ready = None  # two sets at a time would be one too many
            self._ready = key, self._find(source, version)
        return self._ready[1]

    def _find(self, source: str, version: int) -> ListIndex:
        for batch in self.archive.read("lists", self.span, ("source", "version", "lists", "as_of_us", "text")):
            names = zip(batch.column("source").to_pylist(), batch.column("version").to_pylist(), strict=True)
            for at, name in enumerate(names):
                if name == (source, version):
                    row = batch.slice(at, 1).to_pylist()[0]
                    if row["text"] is None:
                        raise BacktestError(f"lists version {version} of {source}: their text hasn't come yet; wait")
                    told = ListsActivation(version=version, lists=row["lists"], as_of_us=row["as_of_us"])
                    return ListIndex(told, parse(f"lists {version}", row["text"].splitlines()).index)
        raise BacktestError(f"lists version {version} of {source} isn't in this history; begin after it")

    def modes(self, policy: ActivePolicy, rows: Rows, lists: ListIndex) -> Modes:
        """Return how fresh a policy takes bundle and lists to be, uint8 [n, 3]; itself it takes to be fresh.

        The rows name one bundle. Of one that nobody knows any more, what was thought then is kept.
        """
        ladder, times = policy.terms.ladder, rows["time_us"]
        modes = np.zeros((len(rows), 3), np.uint8)
        trained_us = self.trained_us.get(rows["bundle"][0].decode())
        modes[:, 0] = rows["mode_bundle"] if trained_us is None else _mode(ladder.bundle, times - trained_us)
        if lists.as_of_us is not None:
            modes[:, 1] = _mode(ladder.lists, times - lists.as_of_us)
        return modes


def _mode(rungs: Rungs, ages_us: np.ndarray[Any, np.dtype[np.int64]]) -> Modes:
    """Return the step of the ladder for each age, as `Rungs.mode` does for one."""
    hours = [rungs.aging.hours, rungs.stale.hours, rungs.blind.hours]
    return np.searchsorted(hours, ages_us // HOUR_US, side="right").astype(np.uint8)


def _policy(policy: str, from_us: int, terms: str) -> ActivePolicy:
    try:
        return ActivePolicy(PolicyId(policy), Policy.model_validate_json(terms), from_us)
    except ValueError as error:
        raise BacktestError(f"{policy}: this program can't read the policy that held then ({error})") from error
