"""The committer: the one who decides what is new, and writes frames and cursors to the stream in one step.

Its memory is the stream's: opened, it reads the cursors that its committer name noted last, and fences whoever held
them. What was acknowledged is in the stream; what the stream didn't confirm was never acknowledged.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from serve_apps.ingest.forks import ALARMS, RIVAL, Look, claims_anew, other_told, raised
from serve_apps.ingest.intake import Admitted
from serve_apps.ingest.ranges import Claim, Range, Ranges, Verdict
from serve_apps.ingest.staging import Proven
from serve_apps.plumbing.stream.log import ARTIFACTS, topic_of
from serve_apps.plumbing.stream.ports import Message, Stream, TooLargeError, UnknownOutcomeError, Writer
from tidegate.clock import Clock
from tidegate.errors import TemporaryError
from tidegate.frames import Head, Header
from tidegate.limits import (
    LOG_COMMIT_BYTES_MAX,
    LOG_CURSORS_MAX,
    TIDE_ALARM_LOOKS_KEPT,
    TIDE_CUT_US,
    TIDE_EPOCH_NOTED_BYTES,
    TIDE_EPOCHS_MAX,
    TIDE_GAP_AGE_US,
    TIDE_LOOK_NOTED_BYTES,
    TIDE_RANGE_NOTED_BYTES,
    TIDE_TEXTS_MAX,
)
from tidegate.passages import Span
from tidegate.records import Lane
from tidegate.tide import EPOCHS, FORKED, Cursor, Result, Status

TOPICS: Final = {lane: topic_of(lane) for lane in Lane}
_TEXT: Final = "TEXT/"
"""Before a text's digest: the cursor that says how much of it is there. No site's name has capital letters."""
_FORMAT: Final = 1
_STATUSES: Final = {
    Verdict.NEW: Status.COMMITTED,
    Verdict.DUPLICATE: Status.DUPLICATE,
    Verdict.OVERLAP: Status.OVERLAP,
    Verdict.OUT_OF_ORDER: Status.REWIND,
    Verdict.TOO_MANY: Status.REWIND,
    Verdict.FORKED: Status.QUARANTINED,
}
_FORK_TOLD: Final = (
    "these records don't continue those that are here: two machines sign for one epoch, or a journal was altered; "
    "revoke the key of one, and let the other begin a new epoch"
)


class Origin(NamedTuple):
    """Whose records: one epoch of one gate of one site."""

    site: str
    gate: str
    epoch: str

    @property
    def key(self) -> bytes:
        """The key of its messages: one epoch's frames keep their order."""
        return "/".join(self).encode()


def origin_of(said: Header | Head) -> Origin:
    """Return whose a frame or a head is."""
    return Origin(said.site, said.gate, said.epoch)


@dataclass(frozen=True, slots=True)
class Holding:
    """What is known of one epoch: the ranges of each lane, and what its site claims to have."""

    lanes: Mapping[Lane, Ranges] = field(default_factory=dict)
    claims: Mapping[Lane, Claim] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    durable_pos: int = 0
    told_us: int = 0
    ahead_us: int = 0
    """How far the site's clock was ahead of the cloud's at its last head."""
    forked: bool = False
    """Its site or somebody in its name has told another history: the alarm."""
    order: int = 0
    """Counts a gate's epochs by when each was first told of, from 1; 0: its site hasn't told of it yet."""
    most: int = 0
    """How many records its site ever claimed."""
    rival: bool = False
    """It went on after a later epoch of its gate had begun: two machines have one identity. An alarm, too."""
    alarms: frozenset[str] = frozenset()
    """Which of both nobody has looked at since there was news of it."""
    other: Mapping[Lane, Ranges] = field(default_factory=dict)
    """What was told of another history, so that what is told again is no news."""
    denied: Mapping[Lane, Claim] = field(default_factory=dict)
    """The latest claims that contradict what is here, for the same."""
    looks: tuple[Look, ...] = ()
    """Who has looked, the latest last."""

    @property
    def noted_bytes(self) -> int:
        """How many bytes `to_bytes` has at the most."""
        every = (*self.lanes.values(), *self.other.values())
        told = sum(len(ranges.ranges) + len(ranges.borders) for ranges in every) * TIDE_RANGE_NOTED_BYTES
        return TIDE_EPOCH_NOTED_BYTES + told + len(self.looks) * TIDE_LOOK_NOTED_BYTES

    def ranges(self, lane: Lane) -> Ranges:
        """Return what is there of a lane."""
        return self.lanes.get(lane) or Ranges(in_order=lane is Lane.MONEY)

    def gaps(self, lane: Lane, now_us: int) -> tuple[Span, ...]:
        """Return what was claimed long enough ago and still isn't there."""
        claim = self.claims.get(lane)
        if claim is None or now_us - claim.told_us < TIDE_GAP_AGE_US:
            return ()
        return self.ranges(lane).missing(claim.seq)

    def cursors(self, origin: Origin) -> list[Cursor]:
        """Return what the site is told of it."""
        made = []
        for lane in sorted({*self.lanes, *self.claims}):
            ranges = self.ranges(lane)
            rewind = ranges.through + 1 if ranges.in_order else None
            spans = [(each.first, each.last) for each in ranges.ranges]
            chain = ranges.ranges[-1].after.hex() if spans else ""
            made.append(Cursor(epoch=origin.epoch, lane=lane, committed=spans, rewind_to=rewind, chain=chain))
        return made

    def to_bytes(self) -> bytes:
        """Return what is noted in the stream."""
        said = {"format": _FORMAT, "lanes": _noted_ranges(self.lanes), "claims": _noted_claims(self.claims)}
        said |= {"versions": dict(self.versions), "alarms": sorted(self.alarms), "looks": self.looks}
        said |= {"other": _noted_ranges(self.other), "denied": _noted_claims(self.denied)}
        said |= {
            "durable_pos": self.durable_pos,
            "told_us": self.told_us,
            "ahead_us": self.ahead_us,
            "forked": self.forked,
            "order": self.order,
            "most": self.most,
            "rival": self.rival,
        }
        return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Holding":
        """Return what was noted in the stream.

        Raises:
            ValueError: it is of another format.
        """
        said: dict[str, Any] = json.loads(data)
        if said["format"] != _FORMAT:
            raise ValueError(f"a cursor of format {said['format']}, this program reads {_FORMAT}: upgrade it")
        return cls(
            lanes={Lane(int(lane)): _ranges(Lane(int(lane)), told) for lane, told in said["lanes"].items()},
            claims=_claims(said["claims"]),
            versions=said["versions"],
            durable_pos=said["durable_pos"],
            told_us=said["told_us"],
            ahead_us=said.get("ahead_us", 0),
            forked=said["forked"],
            order=said.get("order", 0),
            most=said.get("most", 0),
            rival=said.get("rival", False),
            alarms=frozenset(said.get("alarms", [alarm for alarm in ALARMS if said.get(alarm)])),
            other={Lane(int(lane)): _ranges(None, told) for lane, told in said.get("other", {}).items()},
            denied=_claims(said.get("denied", {})),
            looks=tuple(Look._make((*look[:-1], tuple(look[-1]))) for look in said.get("looks", ())),
        )

    def forks(self, lane: Lane, offered: Range) -> "Holding":
        """Return what is known once a range of another history was offered: an alarm, unless it is told again."""
        other, news = other_told(self.other.get(lane), offered)
        alarms = self.alarms | {FORKED} if news else self.alarms
        return replace(self, forked=True, alarms=alarms, other={**self.other, lane: other})

    def seen(self, look: Look) -> "Holding":
        """Return what is known once somebody has looked at all alarms."""
        return replace(self, alarms=frozenset(), looks=(*self.looks, look)[-TIDE_ALARM_LOOKS_KEPT:])


def _noted_ranges(lanes: Mapping[Lane, Ranges]) -> dict[str, Any]:
    return {
        f"{lane:d}": {
            "ranges": [[each.first, each.last, each.before.hex(), each.after.hex()] for each in ranges.ranges],
            "borders": [[at, chain.hex()] for at, chain in ranges.borders],
        }
        for lane, ranges in lanes.items()
    }


def _noted_claims(claims: Mapping[Lane, Claim]) -> dict[str, Any]:
    return {f"{lane:d}": [claim.seq, claim.chain.hex(), claim.told_us] for lane, claim in claims.items()}


def _claims(told: Mapping[str, Any]) -> dict[Lane, Claim]:
    return {Lane(int(lane)): Claim(seq, bytes.fromhex(chain), us) for lane, (seq, chain, us) in told.items()}


def _ranges(lane: Lane | None, told: Mapping[str, Any]) -> Ranges:
    ranges = tuple(Range(a, b, bytes.fromhex(before), bytes.fromhex(after)) for a, b, before, after in told["ranges"])
    borders = tuple((at, bytes.fromhex(chain)) for at, chain in told["borders"])
    return Ranges(ranges, borders, in_order=lane is Lane.MONEY)


class Kept(NamedTuple):
    """How much of a text is in the stream: its first parts, through one of so many; `cut` as in `Proven`."""

    parts: int
    through: int
    cut: str = ""
    site: str = ""
    """Who brought it first."""

    def to_bytes(self) -> bytes:
        """Return what is noted in the stream."""
        return json.dumps(self).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Kept":
        """Return what was noted in the stream."""
        return cls(*json.loads(data))


def _through(parts: Sequence[bytes], done: int) -> int:
    """Return up to which part a commit goes that begins behind `done`: one at least."""
    stop, size = done + 1, len(parts[done])
    while stop < len(parts) and size + len(parts[stop]) <= LOG_COMMIT_BYTES_MAX // 2:
        size += len(parts[stop])
        stop += 1
    return stop


class Outcome(NamedTuple):
    """What became of what one request brought, and what the site is told of its cursors."""

    results: list[Result]
    cursors: list[Cursor]


Brought = Sequence[Admitted | Head]
"""What one request brought and the intake let in: frames, or a head."""
_NOTHING: Final = Holding()
_NO_ROOM: Final = f"the log has {LOG_CURSORS_MAX} epochs and texts, as many as it may: what it has goes on"


def _origin(item: Admitted | Head) -> Origin:
    return origin_of(item if isinstance(item, Head) else item.header)


class Committer:
    """One shard of the sites. For one thread."""

    def __init__(self, stream: Stream, name: str, clock: Clock) -> None:
        self._stream, self._name, self._clock = stream, name, clock
        self._writer: Writer | None = None
        self._held: dict[Origin, Holding] = {}
        self._texts: dict[str, Kept] = {}
        self._going: dict[str, int] = {}
        """When parts were committed last of texts that aren't whole yet."""
        self._orders: dict[tuple[str, str], int] = {}
        """Of each site and gate, the order of its newest epoch."""
        self._epochs: Counter[str] = Counter()
        """How many epochs of each site are known."""
        self._brought: Counter[str] = Counter()
        """How many texts each site has brought."""

    def holdings(self) -> Mapping[Origin, Holding]:
        """Return what is known of each epoch of each site of this shard.

        Raises:
            TemporaryError: the stream can't be asked.
        """
        self._open()
        return self._held

    def ready(self) -> None:
        """Return once the stream has told what is there.

        Raises:
            TemporaryError: it can't be asked.
        """
        self._open()

    def weight(self, brought: Brought) -> int:
        """Return how many bytes what a request brought adds to a commit, cursors included; any thread may ask."""
        frames = [item for item in brought if isinstance(item, Admitted)]
        origins = {_origin(item) for item in brought}
        noted = sum((self._held.get(origin) or _NOTHING).noted_bytes for origin in origins)
        added = len(frames) * TIDE_RANGE_NOTED_BYTES
        return noted + added + sum(item.frame.envelope.size for item in frames)

    def commit(self, requests: Sequence[Brought]) -> list[Outcome]:
        """Commit what several requests brought, in one transaction; return what became of each.

        What a single request brought is committed in parts where it is too much for one.

        Raises:
            TooLargeError: several requests are too much for one commit, of which nothing was done.
            TemporaryError: the stream can't be asked, or it isn't known what became of it: send all of it again.
            FencedError: another committer has this name now: end this one.
        """
        try:
            return self._commit(requests)
        except TooLargeError:
            if len(requests) != 1 or len(requests[0]) == 1:
                raise
        (brought,) = requests
        middle = len(brought) // 2
        results = [each for part in (brought[:middle], brought[middle:]) for each in self.commit([part])[0].results]
        return [Outcome(results, self._told(brought))]

    def _commit(self, requests: Sequence[Brought]) -> list[Outcome]:
        writer = self._open()
        staged: dict[Origin, Holding] = {}
        messages: list[Message] = []
        results = [[self._stage(item, staged, messages) for item in brought] for brought in requests]
        if staged:
            self._write(writer, messages, {"/".join(origin): held.to_bytes() for origin, held in staged.items()})
            self._note(staged)
        return [Outcome(result, self._told(brought)) for brought, result in zip(requests, results, strict=True)]

    def has(self, sha256: str) -> bool:
        """Tell whether all of a text is in the stream, as far as is known; any thread may ask."""
        kept = self._texts.get(sha256)
        return kept is not None and kept.through == kept.parts

    def refuses(self, site: str, sha256: str) -> str | None:
        """Return why no new text of a site is taken, or None where it is; any thread may ask."""
        if sha256 in self._texts:
            return None
        if self._brought[site] >= TIDE_TEXTS_MAX:
            return f"{site} has brought {TIDE_TEXTS_MAX} texts, as many as it may: its decisions go on without new ones"
        return _NO_ROOM if self._crowded(0) else None

    def keep(self, text: Proven) -> bool:
        """Commit the next parts of a text, as many as a commit holds; return whether all of them are there now.

        Cut otherwise than one that is being committed, it waits for that one: by then it is there.

        Raises:
            TemporaryError, FencedError: as for `commit`; or another cut of it is being committed.
        """
        writer, count = self._open(), len(text.parts)
        if self.has(text.sha256):
            return True
        kept = self._texts.get(text.sha256)
        done = kept.through if kept is not None and (kept.parts, kept.cut) == (count, text.cut) else 0
        self._wait_for_others(text.sha256, begun=kept is not None and not done)
        stop = _through(text.parts, done)
        messages = [Message(ARTIFACTS, text.sha256.encode(), part) for part in text.parts[done:stop]]
        kept = Kept(count, stop, text.cut, kept.site if kept is not None else text.site)
        self._write(writer, messages, {f"{_TEXT}{text.sha256}": kept.to_bytes()})
        self._brought[kept.site] += text.sha256 not in self._texts
        self._texts[text.sha256], self._going[text.sha256] = kept, self._clock.now_us()
        if stop == count:
            del self._going[text.sha256]
        return stop == count

    def _wait_for_others(self, sha256: str, *, begun: bool) -> None:
        """Refuse to begin anew with a text of which others commit another cut, for as long as they go on."""
        since_us = self._clock.now_us() - self._going.get(sha256, -TIDE_CUT_US)
        if begun and 0 <= since_us < TIDE_CUT_US:
            raise TemporaryError(f"the text {sha256} is being committed, cut otherwise; offer it again in a moment")

    def acknowledge(self, site: str, *, by: str, why: str) -> dict[Origin, list[str]]:
        """Note that somebody has looked at all alarms of a site; return which. News of any of them is an alarm again.

        Raises:
            TemporaryError, FencedError: as for `commit`.
        """
        writer, now_us = self._open(), self._clock.now_us()
        open_ = {origin: held for origin, held in self._held.items() if origin.site == site and held.alarms}
        told = {origin: raised(held.alarms) for origin, held in open_.items()}
        seen = {origin: held.seen(Look(now_us, by, why, tuple(told[origin]))) for origin, held in open_.items()}
        if seen:
            self._write(writer, [], {"/".join(origin): held.to_bytes() for origin, held in seen.items()})
            self._held |= seen
        return told

    def close(self) -> None:
        """Let go of the stream."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Writer:
        if self._writer is None:
            writer = self._stream.writer(self._name)
            cursors = writer.cursors()
            texts = {name for name in cursors if name.startswith(_TEXT)}
            self._texts = {name.removeprefix(_TEXT): Kept.from_bytes(cursors[name]) for name in texts}
            held = {name: data for name, data in cursors.items() if name not in texts}
            self._brought = Counter(kept.site for kept in self._texts.values())
            self._held, self._orders, self._going, self._epochs = {}, {}, {}, Counter()
            self._note({Origin(*name.split("/")): Holding.from_bytes(data) for name, data in held.items()})
            self._writer = writer
        return self._writer

    def _note(self, holdings: Mapping[Origin, Holding]) -> None:
        for origin, held in holdings.items():
            self._orders[origin[:2]] = max(held.order, self._orders.get(origin[:2], 0))
            self._epochs[origin.site] += origin not in self._held
        self._held |= holdings

    def _crowded(self, staged: int) -> bool:
        """Tell whether the log has no room for another cursor."""
        return len(self._held) + len(self._texts) + staged >= LOG_CURSORS_MAX

    def _refused(self, origin: Origin, staged: Mapping[Origin, Holding]) -> Result | None:
        """Return the refusal of an epoch that would be one too many."""
        if origin in self._held or origin in staged:
            return None
        new = [other.site for other in staged if other not in self._held]
        if self._epochs[origin.site] + new.count(origin.site) >= TIDE_EPOCHS_MAX:
            told = f"{origin.site} has {TIDE_EPOCHS_MAX} epochs, as many as it may: find out why it begins new ones, "
            return Result(status=Status.REFUSED, reason=EPOCHS, message=f"{told}then enrol it by another name")
        return Result(status=Status.REFUSED, reason=EPOCHS, message=_NO_ROOM) if self._crowded(len(new)) else None

    def _newest(self, origin: Origin, staged: Mapping[Origin, Holding]) -> int:
        """Return the order of a gate's newest epoch."""
        now = [held.order for other, held in staged.items() if other[:2] == origin[:2]]
        return max([self._orders.get(origin[:2], 0), *now])

    def _write(self, writer: Writer, messages: list[Message], cursors: dict[str, bytes]) -> None:
        try:
            writer.commit(messages, cursors)
        except UnknownOutcomeError as error:
            self.close()  # the cursors of the next writer tell
            raise TemporaryError(f"{error.message}; send again") from error

    def _stage(self, item: Admitted | Head, staged: dict[Origin, Holding], messages: list[Message]) -> Result:
        origin = _origin(item)
        if (refused := self._refused(origin, staged)) is not None:
            return refused
        held = staged.get(origin) or self._held.get(origin) or Holding()
        if isinstance(item, Head):
            staged[origin] = self._claimed(held, item, self._newest(origin, staged))
            forked = staged[origin].forked
            return Result(status=Status.QUARANTINED, reason=FORKED, message=_FORK_TOLD) if forked else _DONE
        lane, header = Lane(item.header.lane), item.header
        offered = Range(header.first, header.last, bytes.fromhex(header.before), bytes.fromhex(header.after))
        verdict = held.ranges(lane).judge(offered)
        if verdict is Verdict.NEW:
            staged[origin] = replace(held, lanes={**held.lanes, lane: held.ranges(lane).add(offered)})
            messages.append(Message(TOPICS[lane], origin.key, item.frame.data))
        elif verdict is Verdict.FORKED:
            staged[origin] = held.forks(lane, offered)
            return Result(status=Status.QUARANTINED, reason=FORKED, message=_FORK_TOLD)
        return Result(status=_STATUSES[verdict])

    def _claimed(self, held: Holding, head: Head, newest: int) -> Holding:
        """Return what is known once a site has said how far its journal reaches; `newest`: its gate's newest epoch."""
        now_us, claimed = self._clock.now_us(), sum(said.seq for said in head.heads.values())
        claims = {Lane(lane): Claim(said.seq, bytes.fromhex(said.chain), now_us) for lane, said in head.heads.items()}
        denied = {lane: claim for lane, claim in claims.items() if held.ranges(lane).contradicts(claim)}
        rival = 0 < held.order < newest and claimed > held.most
        news = {FORKED: claims_anew(held.denied, denied), RIVAL: rival}
        alarms = held.alarms | {alarm for alarm, new in news.items() if new}
        held = replace(held, forked=held.forked or bool(denied), alarms=alarms, denied={**held.denied, **denied})
        if claimed < held.most and head.time_us <= held.told_us + held.ahead_us:
            return held  # it comes late, or again: what it says was true once. A later one that claims less is put back
        kept = {lane: _older(held, lane, claim) for lane, claim in claims.items()}
        return replace(
            held,
            claims=kept,
            versions=dict(head.versions),
            durable_pos=head.durable_pos,
            told_us=now_us,
            ahead_us=head.time_us - now_us,
            order=held.order or newest + 1,
            most=max(claimed, held.most),
            rival=held.rival or rival,
        )

    def _told(self, brought: Brought) -> list[Cursor]:
        origins = dict.fromkeys(_origin(item) for item in brought)
        return [cursor for origin in origins for cursor in self._held.get(origin, Holding()).cursors(origin)]


_DONE: Final = Result(status=Status.COMMITTED)


def _older(held: Holding, lane: Lane, claim: Claim) -> Claim:
    """Return the older claim for as long as what it names isn't there: a gap is as old as what first told of it."""
    before = held.claims.get(lane)
    if before is None or not held.ranges(lane).missing(before.seq) or before.seq > claim.seq:
        return claim
    return before


def sites(holdings: Iterable[Origin]) -> list[str]:
    """Return the sites that have sent anything, in order."""
    return sorted({origin.site for origin in holdings})
