"""A trial: one policy decides again what was decided before, with the lists as they were then.

Beside that, each decision is decided again as it was: by the policy that held then. That must give what was journaled,
or the rest of the report is worth nothing.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tidegate.decision import Mark
from tidegate.features.declarations import FINGERPRINT
from tidegate.history import BACKTEST_COLUMNS, rows_of, sources_of
from tidegate.limits import BACKTEST_EXAMPLES
from tidegate.lists import ListIndex, listings
from tidegate.policy.active import ActivePolicy
from tidegate.policy.brake import Brakes
from tidegate.policy.columns import NO_LISTINGS, Listings, decide_columns
from training.backtest.past import Past
from training.backtest.ports import Archive, BacktestError
from training.backtest.spans import Span
from training.backtest.tally import Judged, Tally
from training.backtest.truth import COLUMNS, Labels

Rows = np.ndarray[Any, np.dtype[np.void]]
_END_US: Final = (1 << 63) - 1
_LEFT_OUT: Final = Mark.SCORE_LEFT_OUT | Mark.RULES_LEFT_OUT


class Trial:
    """One policy on trial. Runs of one source must come in their order: brakes remember."""

    def __init__(self, policy: ActivePolicy, past: Past, labels: Labels, *, known_until_us: int) -> None:
        self.tally = Tally()
        self._policy = policy
        self._past = past
        self._labels = labels
        self._known_until_us = known_until_us
        self._brakes: tuple[str, Brakes] | None = None

    def take(self, batch: pa.RecordBatch) -> None:
        """Decide a batch again and count it.

        Raises:
            BacktestError: it was made with other features, or names lists that the history hasn't got.
        """
        rows, (codes, names) = rows_of(batch), sources_of(batch)
        self._same_features(rows)
        forced, left = (rows["marks"] & Mark.SANDBOX) != 0, (rows["marks"] & _LEFT_OUT) != 0
        self.tally.apart["sandbox"] += int(forced.sum())
        self.tally.apart["deadline"] += int((left & ~forced).sum())
        if (forced | left).any():
            rows, codes = rows[~(forced | left)], codes[~(forced | left)]
        for start, stop in _runs(codes, *(rows[name] for name in ("lists_version", "bundle", "policy"))):
            self._run(names[codes[start]], rows[start:stop])

    def _same_features(self, rows: Rows) -> None:
        other = rows["feature_fingerprint"] != FINGERPRINT.encode()
        if other.any():
            row = rows[other][0]
            told = row["feature_fingerprint"].decode()
            raise BacktestError(
                f"decision {row['seq']} was made with features {told}, this program has {FINGERPRINT}: rules would "
                "read other numbers; begin after the upgrade"
            )

    def _run(self, source: str, rows: Rows) -> None:
        lists = self._past.lists(source, int(rows["lists_version"][0]))
        said = _said(lists, rows, self._policy)
        now = decide_columns(
            self._policy,
            rows,
            modes=self._past.modes(self._policy, rows, lists),
            listings=said,
            brakes=self._brakes_of(source) if self._policy.book.braked else None,
        )
        listed = np.zeros(len(rows), np.bool_)
        listed[[place for place, hits in zip(said.rows.tolist(), said.hits, strict=True) if hits]] = True
        truth = self._labels.truths(rows, self._known_until_us)
        self.tally.add(self._policy, Judged(source, rows, now, truth, listed))
        self._check(source, rows, lists)

    def _brakes_of(self, source: str) -> Brakes:
        """Return the brakes of a source, open at its beginning."""
        if self._brakes is None or self._brakes[0] != source:
            self._brakes = source, Brakes()
            self._brakes[1].fit(self._policy.terms)
        return self._brakes[1]

    def _check(self, source: str, rows: Rows, lists: ListIndex) -> None:
        """Decide a run again as it was decided: by the policy and the ages of then. Closed brakes are set apart."""
        checked, then = self.tally.checked, self._past.policies.get(rows["policy"][0].decode())
        if then is None:
            checked["policy_lost"] += len(rows)
            return
        modes = np.stack([rows["mode_bundle"], rows["mode_lists"], rows["mode_policy"]], axis=1)
        again = decide_columns(then, rows, modes=modes, listings=_said(lists, rows, then))
        braked = rows["rules_braked"] != 0
        wrong = (again.outcome != rows["outcome"]) | (again.deciding != rows["rules_deciding"])
        wrong = (wrong | (again.hit != rows["rules_hit"])) & ~braked
        checked["braked"] += int(braked.sum())
        checked["differing"] += int(wrong.sum())
        checked["equal"] += int((~wrong & ~braked).sum())
        room = BACKTEST_EXAMPLES - len(self.tally.differing)
        self.tally.differing += [f"{source}.L1.{seq}" for seq in rows["seq"][wrong][:room].tolist()]


def _said(lists: ListIndex, rows: Rows, policy: ActivePolicy) -> Listings:
    return listings(lists, rows, policy) if lists.index else NO_LISTINGS


def _runs(*columns: Any) -> Iterator[tuple[int, int]]:  # noqa: ANN401 - arrays of any type
    """Yield start and stop of the stretches in which no column changes."""
    count = len(columns[0])
    if not count:
        return
    changed = np.zeros(count - 1, np.bool_)
    for column in columns:
        changed |= column[1:] != column[:-1]
    edges = [0, *(np.flatnonzero(changed) + 1).tolist(), count]
    yield from itertools.pairwise(edges)


def try_policy(
    archive: Archive, policy: ActivePolicy, span: Span, known_until_us: int, heard: Callable[[int], None]
) -> Tally:
    """Try a policy on a span of a history; `heard` is told how many decisions each batch had.

    Raises:
        BacktestError: the history can't be read, or was made with other features.
    """
    labels = Labels.of(list(archive.read("labels", Span(span.from_us, _END_US), COLUMNS)))
    trial = Trial(policy, Past.of(archive, span), labels, known_until_us=known_until_us)
    for batch in archive.read("decisions", span, ("source", *BACKTEST_COLUMNS)):
        trial.take(batch)
        heard(batch.num_rows)
    return trial.tally
