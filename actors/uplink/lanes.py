"""What is still to be sent, lane by lane: live records as they are made, and the backlog that cuts left behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.uplink.schedule import Queue
from actors.uplink.standing import Key, LaneStanding
from tidegate.ids import EpochId
from tidegate.limits import TIDE_HELD_MAX, TIDE_HELD_US, TIDE_LIVE_BEHIND_MAX
from tidegate.passages import Span, missing, united
from tidegate.records import Lane


class Wanted(NamedTuple):
    """What a queue has to send next."""

    key: Key
    span: Span


@dataclass(slots=True)
class _State:
    """One lane of one epoch: what the cloud has, what can't be read any more, what it didn't want for now."""

    last: int = 0
    live_from: int = 1
    committed: tuple[Span, ...] = ()
    taken: tuple[Span, ...] = ()
    lost: tuple[Span, ...] = ()
    held: list[tuple[Span, int]] = field(default_factory=list)

    def gaps(self, since: int, through: int) -> tuple[Span, ...]:
        away = (*self.committed, *self.taken, *self.lost, *(span for span, _ in self.held))
        return missing(united(away), through, since)


class Lanes:
    """All lanes of all epochs. What is live and what is backlog changes with the line; what is missing does not."""

    def __init__(self) -> None:
        self._states: dict[Key, _State] = {}
        self._newest: EpochId | None = None

    def durable(self, epochs: Iterable[EpochId], last: Mapping[Key, int]) -> None:
        """Take note of what is durable: the last number of each lane of each epoch, oldest epoch first."""
        known = list(epochs)
        self._newest = known[-1] if known else None
        self._states = {key: self._states.get(key) or _State(live_from=seq + 1) for key, seq in last.items()}
        for key, seq in last.items():
            state = self._states[key]
            state.last = seq
            if seq - state.live_from >= TIDE_LIVE_BEHIND_MAX:
                state.live_from = seq + 1  # the line is slower than the site: what is live must not wait for it

    def connected(self) -> None:
        """From now on what is made is live, and what was made is backlog; what couldn't be read is tried again."""
        for state in self._states.values():
            state.live_from, state.lost = state.last + 1, ()

    def has(self, key: Key, committed: tuple[Span, ...]) -> None:
        """Take note of what the cloud says it has of a lane, which is all that it has."""
        if key in self._states:
            self._states[key].committed = committed

    def take(self, key: Key, span: Span) -> None:
        """Take a span into the request that is being made."""
        self._states[key].taken = united((*self._states[key].taken, span))

    def untake(self) -> None:
        """Forget what was taken: the answer tells what became of it."""
        for state in self._states.values():
            state.taken = ()

    def lacks(self, key: Key, span: Span) -> bool:
        """Tell whether all of a span is still to be sent."""
        return self._states[key].gaps(span.first, span.last) == (span,)

    def lose(self, key: Key, span: Span) -> None:
        """Take note that a span can't be read any more; the journal has told it by a record."""
        self._states[key].lost = united((*self._states[key].lost, span))

    def hold(self, key: Key, span: Span, now_us: int) -> None:
        """Keep back a span that the cloud didn't want, and offer it again later."""
        state, until_us = self._states[key], now_us + TIDE_HELD_US
        apart = []
        for other, other_us in state.held:
            if other.first <= span.last + 1 and span.first <= other.last + 1:  # together, in frames as large as may be
                span = Span(min(span.first, other.first), max(span.last, other.last))
                until_us = min(until_us, other_us)
            else:
                apart.append((other, other_us))
        state.held = [*apart, (span, until_us)][-TIDE_HELD_MAX:]

    def release(self, now_us: int) -> None:
        """Offer again what was held for long enough."""
        for state in self._states.values():
            state.held = [(span, until) for span, until in state.held if until > now_us]

    def waiting(self) -> dict[Queue, Wanted]:
        """Return what each queue has to send next; of the backlog what is oldest."""
        found: dict[Queue, Wanted] = {}
        for key, state in self._states.items():
            epoch, lane = key
            live = state.gaps(state.live_from, state.last) if epoch == self._newest else ()
            if live:
                found[Queue(lane, live=True)] = Wanted(key, live[0])
            if Queue(lane, live=False) not in found:
                through = state.live_from - 1 if epoch == self._newest else state.last
                old = state.gaps(1, min(through, state.last))
                if old:
                    found[Queue(lane, live=False)] = Wanted(key, old[0])
        return found

    def committed(self) -> dict[Key, tuple[Span, ...]]:
        """Return what the cloud has, lane by lane."""
        return {key: state.committed for key, state in self._states.items()}

    def behind(self) -> dict[Lane, int]:
        """Return how many records of each lane the cloud doesn't have yet, as far as they can be read."""
        counts = dict.fromkeys(Lane, 0)
        for (_, lane), state in self._states.items():
            there = missing(state.committed, state.last)
            counts[lane] += sum(span.last - span.first + 1 for span in there)
            counts[lane] -= sum(span.last - span.first + 1 for span in state.lost)
        return counts

    def standing(self, *, line_is_up: bool) -> dict[Lane, LaneStanding]:
        """Return each lane's records, all epochs together; without a line nothing is live."""
        found: dict[Lane, LaneStanding] = {}
        for (epoch, lane), state in self._states.items():
            gaps = missing(united((*state.committed, *state.lost)), state.last)
            since = state.live_from if line_is_up and epoch == self._newest else state.last + 1
            live = _count(gaps, since)
            committed = state.last - _count(missing(state.committed, state.last))
            one = LaneStanding(state.last, committed, live, _count(gaps) - live)
            found[lane] = LaneStanding(*map(sum, zip(found.get(lane, (0, 0, 0, 0)), one, strict=True)))
        return found

    def lacking(self) -> dict[Key, int]:
        """Return the first record of each lane that the cloud lacks, where there is one that can be read."""
        gaps = {
            key: missing(united((*state.committed, *state.lost)), state.last) for key, state in self._states.items()
        }
        return {key: spans[0].first for key, spans in gaps.items() if spans}


def _count(spans: Iterable[Span], since: int = 1) -> int:
    """Return how many records of the spans there are from `since` on."""
    return sum(max(0, span.last - max(span.first, since) + 1) for span in spans)
