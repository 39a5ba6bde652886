"""Which deltas a frame becomes. Pure: no disk, no clock, no log."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from serve_apps.features.ports import UndecodableError
from serve_apps.plumbing.stream.log import topic_of
from tidegate.decision import Mark
from tidegate.deltas import ROWS_MAX, Deltas, Rows, Verdict, countable, uses, verdicts
from tidegate.events import LabelReceived, said
from tidegate.frames import FrameError, Origin, Run, parse, records
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import DELTA_AHEAD_US
from tidegate.records import HEAD_BYTES, Kind, Lane

TOPICS: Final[dict[str, Lane]] = {topic_of(lane): lane for lane in (Lane.DECISIONS, Lane.EVENTS)}
"""The topics that deltas come from."""


class Extracted(NamedTuple):
    """What a frame becomes, and how many of its rows no gate could count: a broken site's, or a broken clock's."""

    rows: Rows
    odd: int


def rows_of(value: bytes, topic: str, committed_us: int) -> Extracted:
    """Return the rows of a message that was committed then, in their order.

    Every decision is a use of its card, as it is at the gate, but for those that a test card forced.

    Raises:
        UndecodableError: the bytes are no frame of that topic, or a record doesn't say what its kind says.
    """
    try:
        run = records(parse(value))
        rows = _uses(run) if TOPICS[topic] is Lane.DECISIONS else verdicts(_origin(run), _verdicts(run))
    except (FrameError, ValueError) as error:
        raise UndecodableError(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
    good = countable(rows) & (rows["time_us"] <= committed_us + DELTA_AHEAD_US)
    return Extracted(rows[good], int(np.count_nonzero(~good)))


def batches(rows: Rows) -> Iterator[Deltas]:
    """Yield rows as batches, each as large as may be and none empty."""
    for start in range(0, len(rows), ROWS_MAX):
        yield Deltas(rows[start : start + ROWS_MAX])


def _origin(run: Run) -> Origin:
    return Origin(SiteId(run.header.site), GateId(run.header.gate), EpochId(run.header.epoch))


def _uses(run: Run) -> Rows:
    decisions = run.decisions()
    return uses(_origin(run), decisions[(decisions["marks"] & Mark.SANDBOX) == 0])


def _verdicts(run: Run) -> Iterator[Verdict]:
    heads = run.heads()
    for record, kind, pos, time_us in zip(run.each(), *(heads[name].tolist() for name in _NAMES), strict=True):
        if kind != Kind.LABEL_RECEIVED:
            continue
        told = said(kind, record[HEAD_BYTES:])
        if isinstance(told, LabelReceived) and told.delta and told.card:
            yield Verdict(pos, time_us, told.card, told.feature_us, told.delta)


_NAMES: Final = ("kind", "pos", "time_us")
