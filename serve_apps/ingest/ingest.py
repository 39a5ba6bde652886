"""One request of a site: what it brings is let in or not, committed, kept aside, and answered."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from serve_apps.ingest.committer import Brought, Outcome
from serve_apps.ingest.intake import Admitted, Known, Unwanted, admit, admit_head
from serve_apps.ingest.ports import Case, Keys, Quarantine
from serve_apps.ingest.refusals import refusals_of
from tidegate.clock import Clock
from tidegate.frames import KNOWN, Head, Header
from tidegate.limits import FRAMES_BODY_BYTES_MAX, TIDE_AHEAD_US, TIDE_PAST_US
from tidegate.tide import Answer, Result, Status

_NO_CASE: Final = 0
NOTHING: Final = Outcome([], [])
"""What became of a request of which nothing was let in."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a request brought, in order: what may be committed, and what may not."""

    items: tuple[Admitted | Unwanted, ...]

    def admitted(self) -> list[Admitted]:
        """Return what may be committed."""
        return [item for item in self.items if isinstance(item, Admitted)]

    def results(self, outcome: Outcome) -> list[Result]:
        """Return what became of each item, given what became of those that might be committed."""
        committed = iter(outcome.results)
        return [next(committed) if isinstance(item, Admitted) else _refused(item) for item in self.items]

    def answer(self, outcome: Outcome, credit_bytes: int) -> Answer:
        """Return what the site is told."""
        return Answer(results=self.results(outcome), cursors=outcome.cursors, credit_bytes=credit_bytes)

    def cases(self, results: Iterable[Result], now_us: int) -> list[tuple[Case, bytes]]:
        """Return what is to be kept aside."""
        return [
            (_case(header, result, len(data), now_us), data)
            for item, result in zip(self.items, results, strict=True)
            if result.status is Status.QUARANTINED and (header := item.header) is not None
            for data in [item.frame.data if isinstance(item, Admitted) else item.data]
        ]


def _refused(item: Unwanted) -> Result:
    return Result(status=item.status, reason=item.reason, message=item.message)


def _case(header: Header, result: Result, size: int, now_us: int) -> Case:
    return Case(
        case_id=_NO_CASE,
        time_us=now_us,
        site=header.site,
        gate=header.gate,
        epoch=header.epoch,
        lane=header.lane,
        first=header.first,
        last=header.last,
        key=header.key,
        reason=result.reason,
        message=result.message,
        size=size,
    )


def let_in(body: bytes, keys: Keys, known: Known = KNOWN) -> Request:
    """Return what a body brought, looked at frame by frame.

    Raises:
        FrameError: oversized: more frames than one request may bring.
    """
    return Request(tuple(admit(body, keys, known)))


class Meter:
    """Counts what came, by what became of it."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, str], int] = {}
        self.records = 0
        self.bytes = 0
        self.texts: dict[str, int] = {}
        """Texts by what became of them: `committed`, or why they were refused."""

        self.strange_times = {"ahead": 0, "past": 0}
        """Frames committed with times that no clock of today has: counted, never refused, since records are records."""
        self.enrolments: dict[str, int] = {}
        """Enrolments and rotations of keys, by what became of them: `enrolled`, `rotated`, or the code of a refusal."""

    def count_refused(self, reason: str) -> None:
        """Count one head, or one request as a whole, that was refused."""
        key = (Status.REFUSED.value, reason)
        self.results[key] = self.results.get(key, 0) + 1

    def refused(self) -> dict[str, int]:
        """Return how many frames and heads were refused since the start, by reason."""
        return {reason: count for (status, reason), count in self.results.items() if status == Status.REFUSED}

    def count_enrolment(self, became: str) -> None:
        """Count one request of a site about its key."""
        self.enrolments[became] = self.enrolments.get(became, 0) + 1

    def count_text(self, became: str) -> None:
        """Count one text."""
        self.texts[became] = self.texts.get(became, 0) + 1

    def count(self, request: Request, results: Iterable[Result], now_us: int) -> None:
        """Count one request."""
        for item, result in zip(request.items, results, strict=True):
            key = (result.status.value, result.reason)
            self.results[key] = self.results.get(key, 0) + 1
            if isinstance(item, Admitted) and result.status is Status.COMMITTED:
                self.records += item.header.count
                self.bytes += len(item.frame.data)
                self.strange_times["ahead"] += item.last_us > now_us + TIDE_AHEAD_US
                self.strange_times["past"] += item.first_us < TIDE_PAST_US


class Ingest:
    """The whole of ingest in one process, as the simulation runs it; its Serve application spreads the same steps."""

    def __init__(
        self, *, keys: Keys, quarantine: Quarantine, commit: Callable[[Brought], Outcome], clock: Clock
    ) -> None:
        self._keys, self._quarantine, self._commit, self._clock = keys, quarantine, commit, clock
        self.meter = Meter()

    def frames(self, body: bytes) -> Answer:
        """Take in a request of frames.

        Raises:
            FrameError: oversized: more frames than one request may bring; nothing of it was looked at.
            TemporaryError: nothing was acknowledged; send it again.
        """
        request = let_in(body, self._keys)
        outcome = self._commit(request.admitted()) if request.admitted() else NOTHING
        answer, now_us = request.answer(outcome, FRAMES_BODY_BYTES_MAX), self._clock.now_us()
        self._quarantine.keep(request.cases(answer.results, now_us))
        self._quarantine.refuse(refusals_of(request.items, now_us))
        self.meter.count(request, answer.results, now_us)
        return answer

    def head(self, body: bytes) -> Answer:
        """Take in a head.

        Raises:
            FrameError: it is no head, or not signed by a key that may.
            TemporaryError: as for `frames`.
        """
        head: Head = admit_head(body, self._keys)
        outcome = self._commit([head])
        return Answer(results=outcome.results, cursors=outcome.cursors, credit_bytes=FRAMES_BODY_BYTES_MAX)
