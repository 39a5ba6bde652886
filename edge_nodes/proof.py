"""Proof that the cloud holds what a site journaled: hashes of both, computed apart, compared where ranges end.

The cloud computed its hashes from the records it was sent; here they are computed again from the journal's bytes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from actors.journal.ports import Disk
from actors.journal.tail import Tail
from edge_nodes.upstream import Cloud, CloudError, read_api_key
from tidegate.errors import NotFoundError
from tidegate.ids import EpochId
from tidegate.limits import FRAME_RECORDS_MAX, TIDE_PASSAGE_BYTES_MAX
from tidegate.passages import UNKNOWN, Span, missing
from tidegate.records import SCHEMAS, Lane
from tidegate.tide import LaneAnswer, RangeAnswer, lane_path

LANES: Final = tuple(SCHEMAS)
HIDDEN: Final = UNKNOWN.hex()
Ask = Callable[[EpochId, Lane], LaneAnswer | None]
"""Returns the cloud's view of a lane: its ranges with their hashes; None: nothing came of the epoch."""


class LaneProof(NamedTuple):
    """What a comparison found of one lane of one epoch."""

    epoch: EpochId
    lane: Lane
    journaled: int
    same: int
    """Records that are there, the same."""
    differing: tuple[Span, ...]
    """Ranges that are there with other records."""
    unproven: tuple[Span, ...]
    """Ranges that are there and can't be compared: damage hides the journal's own hashes, or its records."""
    missing: tuple[Span, ...]
    """What isn't there yet."""

    @property
    def whole(self) -> bool:
        """Whether the cloud has exactly what was journaled."""
        return self.same == self.journaled

    @property
    def sound(self) -> bool:
        """Whether nothing is there that differs, or was never journaled."""
        return not self.differing


def proven(disk: Disk, url: str, key_file: Path, authority: Path | None) -> list[LaneProof]:
    """Return what is found of a journal against the cloud at an address.

    Raises:
        CloudError, TemporaryError, SettingsError: the cloud can't be asked; `edge_nodes.upstream`.
        NotFoundError: there is no journal.
    """
    tail = Tail(disk)
    tail.refresh(everything=True)
    whose = tail.whose()
    if whose is None:
        raise NotFoundError("no journal is here: name the folder that holds its epochs")
    cloud = Cloud(url, authority=str(authority or ""), key=read_api_key(key_file))

    def ask(epoch: EpochId, lane: Lane) -> LaneAnswer | None:
        try:
            return cloud.get(lane_path(*whose, epoch, int(lane)), LaneAnswer)
        except CloudError as error:
            if error.code == NotFoundError.code:
                return None
            raise

    return list(prove(tail, ask))


def prove(tail: Tail, ask: Ask) -> Iterator[LaneProof]:
    """Yield what is found of each lane of each epoch, oldest first."""
    tail.refresh(everything=True)
    for epoch in tail.epochs():
        for lane in LANES:
            last = tail.last(epoch, lane)
            view = ask(epoch, lane)
            if last or view:
                yield _lane(tail, epoch, lane, last, view.ranges if view else [])


def _lane(tail: Tail, epoch: EpochId, lane: Lane, last: int, ranges: list[RangeAnswer]) -> LaneProof:
    same, differing, unproven = 0, [], []
    for told in ranges:
        span = Span(told.first, told.last)
        found = _hashes(tail, epoch, lane, span, told.before) if span.last <= last else None
        if span.last <= last and (found is None or HIDDEN in (*found, told.before, told.after)):
            unproven.append(span)
        elif found == (told.before, told.after):
            same += span.last - span.first + 1
        else:
            differing.append(span)
    covered = tuple(Span(told.first, told.last) for told in ranges)
    return LaneProof(epoch, lane, last, same, tuple(differing), tuple(unproven), missing(covered, last))


def _hashes(tail: Tail, epoch: EpochId, lane: Lane, span: Span, told_before: str) -> tuple[str, str] | None:
    """Return the running hashes before and after a span; None where a record of it can't be read.

    What the journal dropped once the cloud had it is in the hash behind it.
    """
    first = tail.first(epoch, lane)
    seq, before, after = max(span.first, first), "", ""
    while seq <= span.last:
        passage = tail.read(
            epoch, lane, seq, through=span.last, records_max=FRAME_RECORDS_MAX, bytes_max=TIDE_PASSAGE_BYTES_MAX
        )
        if passage is None or passage.first != seq:
            return None
        before = before or passage.before.hex()
        seq, after = passage.last + 1, passage.after.hex()
    return before if first <= span.first else told_before, after


def proof_lines(found: list[LaneProof]) -> Iterator[str]:
    """Yield what was found in words, the last line being the sum of it."""
    for one in found:
        yield f"{one.epoch} L{one.lane:d}  {one.journaled:,} journaled, {one.same:,} in the cloud and the same"
        for what, spans in (
            ("DIFFERENT in the cloud", one.differing),
            ("not comparable", one.unproven),
            ("not there yet", one.missing),
        ):
            for span in spans:
                yield f"  {span.first:,} to {span.last:,} {what}"
    if not all(one.sound for one in found):
        yield "NOT ok: the cloud holds other records under these numbers; see docs/tide.md, forked"
    elif not all(one.whole for one in found):
        yield "incomplete: what is there is the same, and something is not there yet"
    else:
        yield "ok: the cloud holds exactly what was journaled"
