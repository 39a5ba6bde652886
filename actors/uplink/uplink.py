"""The uplink: one step is one request, made of what is missing in the cloud, and what its answer says.

It knows nothing for certain but what the cloud has told it: whatever is sent twice, cut, lost or answered late, the
next cursor puts it right. It never sends beyond what is durable.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from actors.uplink.lanes import Lanes, Wanted
from actors.uplink.memory import MemoryTexts
from actors.uplink.ports import Carrier, Journal, Memory, NoWayError, Reply, Texts
from actors.uplink.schedule import Queue, Schedule
from actors.uplink.standing import Key, Looks, Standing
from actors.uplink.texts import Offers
from actors.uplink.witness import Doubts
from tidegate.artifacts import ARTIFACT_MEDIA_TYPE, ARTIFACTS_PATH, ArtifactAnswer
from tidegate.clock import Clock
from tidegate.errors import DiskFullError
from tidegate.frames import (
    MEDIA_TYPE,
    OF_LANE,
    Frame,
    FrameError,
    Head,
    LaneHead,
    Origin,
    SignedHead,
    Signer,
    encode_all,
    packed,
)
from tidegate.ids import Entropy, EpochId, GateId, SiteId
from tidegate.limits import (
    FRAME_BYTES_MAX,
    FRAME_RECORDS_MAX,
    FRAMES_BODY_BYTES_MAX,
    FRAMES_BODY_FRAMES_MAX,
    SECOND_US,
    TIDE_HEAD_EVERY_US,
    TIDE_PASSAGE_BYTES_MAX,
    TIDE_POLL_S,
    TIDE_REFUSED_S,
    TIDE_REQUEST_BYTES_MIN,
    TIDE_REQUEST_US,
    TIDE_SAVE_EVERY_US,
)
from tidegate.passages import Passage, Span
from tidegate.patience import Patience
from tidegate.records import SCHEMAS, Lane
from tidegate.tide import FRAMES_PATH, HEAD_MEDIA_TYPE, HEADS_PATH, Answer, Status
from tidegate.tideline import committed_bytes

_M = TypeVar("_M", bound=BaseModel)
_NO_SUCH_PATH: Final = frozenset({404, 405})
LANES: Final = tuple(lane for lane in Lane if lane in SCHEMAS)


class Whose(NamedTuple):
    """Whose journal it is."""

    site: SiteId
    gate: GateId


@dataclass(slots=True)
class _Load:
    """A request in the making: frames, and what each holds."""

    frames: list[bytes] = field(default_factory=list)
    spans: list[tuple[Key, Span]] = field(default_factory=list)
    size: int = 0


class Uplink:
    """Of one gate's journal. For one thread."""

    def __init__(  # noqa: PLR0913 - all that an uplink works with
        self,
        *,
        whose: Whose,
        journal: Journal,
        carrier: Carrier,
        memory: Memory,
        witness: Memory,
        signer: Signer,
        clock: Clock,
        entropy: Entropy,
        versions: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._whose = whose
        self._journal, self._carrier, self._memory = journal, carrier, memory
        self._signer, self._clock, self._versions = signer, clock, versions
        self._lanes = Lanes()
        self._doubts = Doubts(journal, witness)
        self._schedule = Schedule()
        self._looks = Looks()
        self._patience = Patience(entropy)
        self._credit = FRAME_BYTES_MAX
        self._pace = FRAMES_BODY_BYTES_MAX
        self._head_due_us = 0
        self._offers = Offers(whose.site, MemoryTexts())
        self._text_went_last = False
        self._saved: tuple[int, bytes] = (0, b"")
        self.standing = Standing()

    def sign_with(self, signer: Signer) -> None:
        """Sign with another key from now on, and ask again at once where the one before was refused."""
        self._signer = signer
        self._patience.until_us = 0

    def offer(self, texts: Texts) -> None:
        """Offer the cloud these texts from now on."""
        self._offers = Offers(self._whose.site, texts)

    def step(self) -> float:
        """Send one request, where there is something to send and a way; return how many seconds to wait then."""
        now_us = self._clock.now_us()
        if self._patience.left_us(now_us):
            self._look(everything=False)
            return self._patience.left_us(now_us) / SECOND_US
        head_is_due = not self.standing.connected or now_us >= self._head_due_us
        self._look(everything=head_is_due)
        if not self._journal.epochs():
            return TIDE_POLL_S
        self._lanes.release(now_us)
        if head_is_due:
            self._send_head(now_us)
            return 0.0
        if self._offers.waiting and not self._text_went_last:
            self._send_text(now_us)
            return 0.0
        self._text_went_last = False  # texts and frames take turns
        load = self._load()
        if not load.frames:
            self._save(now_us)
            return 0.0 if self._offers.waiting else TIDE_POLL_S
        self._send(load, now_us)
        return 0.0

    def committed(self) -> dict[Key, tuple[Span, ...]]:
        """Return what the cloud is known to have, lane by lane of each epoch."""
        return self._lanes.committed()

    # What there is.

    def _look(self, *, everything: bool) -> None:
        self._journal.refresh(everything=everything)
        epochs = self._journal.epochs()
        durable = {(e, lane): self._journal.last(e, lane) for e in epochs for lane in LANES}
        self._lanes.durable(epochs, durable)
        self._looks.look(self._clock.now_us(), durable)
        self._stand()

    def _stand(self) -> None:
        self.standing.behind = self._lanes.behind()
        self.standing.lanes = self._lanes.standing(line_is_up=self.standing.connected)
        self.standing.oldest_us = self._looks.oldest_us(self._lanes.lacking())

    def _load(self) -> _Load:
        """Return frames for one request, no more than the cloud takes: each queue's by its turn."""
        load, credit = _Load(), min(self._credit, self._pace)
        while waiting := self._lanes.waiting():
            queue = self._schedule.pick(waiting)
            if not self._take(queue, waiting[queue], load, credit):
                break
        self._lanes.untake()
        return load

    def _take(self, queue: Queue, wanted: Wanted, load: _Load, credit: int) -> bool:
        """Add what a queue has next; False: no room for it is left."""
        (epoch, lane), span = wanted
        passage = self._journal.read(
            epoch, lane, span.first, through=span.last, records_max=FRAME_RECORDS_MAX, bytes_max=TIDE_PASSAGE_BYTES_MAX
        )
        if passage is None or passage.first > span.first:
            self._lanes.lose(wanted.key, Span(span.first, span.last if passage is None else passage.first - 1))
            return True
        for frame in self._frames(wanted.key, passage):
            size = len(frame.data) + 4
            if load.frames and (load.size + size > credit or len(load.frames) == FRAMES_BODY_FRAMES_MAX):
                return False
            load.frames.append(frame.data)
            load.size += size
            load.spans.append((wanted.key, Span(frame.header.first, frame.header.last)))
            self._lanes.take(*load.spans[-1])
            self._schedule.sent(queue, size)
        return load.size < credit and len(load.frames) < FRAMES_BODY_FRAMES_MAX

    def _frames(self, key: Key, passage: Passage) -> Iterator[Frame]:
        """Yield a passage's frames; a record that fits none is held back, and told."""
        epoch, lane = key
        origin = Origin(self._whose.site, self._whose.gate, epoch)
        done = passage.first - 1
        try:
            for frame in encode_all(origin, passage.canonical, passage.before, self._signer, layout=OF_LANE[lane]):
                yield frame
                done = frame.header.last
        except FrameError as error:
            self._hold(key, Span(done + 1, done + 1), f"{error.reason}: {error.message}", self._clock.now_us())

    def _hold(self, key: Key, span: Span, why: str, now_us: int) -> None:
        self._lanes.hold(key, span, now_us)
        self.standing.unwanted_frames += 1
        self.standing.trouble = f"L{key[1]:d} {span.first}-{span.last}: {why}"

    # Sending.

    def _send(self, load: _Load, now_us: int) -> None:
        answer = self._ask(FRAMES_PATH, packed(load.frames), MEDIA_TYPE, now_us)
        if answer is None:
            return
        self.standing.sent_frames += len(load.frames)
        self.standing.sent_bytes += load.size
        self.standing.sent_records += sum(span.last - span.first + 1 for _, span in load.spans)
        self._doubt(answer, [key[0] for key, _ in load.spans])
        for (key, span), result in zip(load.spans, answer.results, strict=False):
            if result.status in {Status.QUARANTINED, Status.REFUSED}:
                self._hold(key, span, f"{result.reason}: {result.message}", now_us)
        if all(self._lanes.lacks(key, span) for key, span in load.spans):
            self._patience.in_vain(now_us)
        self._keep_pace(load.size, self._clock.now_us() - now_us)
        self._save(now_us)

    def _keep_pace(self, size: int, took_us: int) -> None:
        """Make the next request so large that it takes no longer than live records may wait."""
        wanted = size * TIDE_REQUEST_US // max(took_us, 1)
        self._pace = max(TIDE_REQUEST_BYTES_MIN, min(FRAMES_BODY_BYTES_MAX, wanted, 2 * self._pace))

    def _send_head(self, now_us: int) -> None:
        """Say how far the journal of each epoch reaches, and hear what the cloud has of it."""
        for epoch in self._journal.epochs():
            heads = {lane: self._journal.head(epoch, lane) for lane in LANES}
            head = Head(
                site=self._whose.site,
                gate=self._whose.gate,
                epoch=epoch,
                key=self._signer.key,
                heads={int(lane): LaneHead(seq=at.seq, chain=at.chain.hex()) for lane, at in heads.items()},
                durable_pos=self._journal.durable_pos(),
                time_us=now_us,
                versions=dict(self._versions()),
            )
            sealed = SignedHead.seal(head, self._signer.sign).data
            answer = self._ask(HEADS_PATH, sealed, HEAD_MEDIA_TYPE, now_us)
            if answer is None:
                return
            self._doubt(answer, [epoch])
        if not self.standing.connected:
            self.standing.connected = True
            self._lanes.connected()
        self._head_due_us = now_us + TIDE_HEAD_EVERY_US
        self._offers.look(now_us)

    def _send_text(self, now_us: int) -> None:
        """Offer a text that records name, or send the part of it that the cloud wants."""
        self._text_went_last = True
        part = self._offers.next(self._signer, now_us)
        if part is not None:
            reply = self._reply(ARTIFACTS_PATH, part.data, ARTIFACT_MEDIA_TYPE, now_us)
            if reply is not None and reply.status in _NO_SUCH_PATH:
                self._offers.unknown(now_us)
            elif reply is not None:
                answer = self._read(reply, ArtifactAnswer, now_us)
                if answer is not None:
                    self._offers.answered(answer, now_us)
        self.standing.trouble = self.standing.trouble or self._offers.trouble

    def _ask(self, path: str, body: bytes, media_type: str, now_us: int) -> Answer | None:
        """Return what the cloud answers; None: nothing usable, and when to try again is set."""
        reply = self._reply(path, body, media_type, now_us)
        answer = None if reply is None else self._read(reply, Answer, now_us)
        if answer is not None:
            self._heard(answer, now_us)
        return answer

    def _reply(self, path: str, body: bytes, media_type: str, now_us: int) -> Reply | None:
        try:
            return self._carrier.post(path, body, media_type)
        except NoWayError as error:
            self._failed(now_us, error.message)
            return None

    def _read(self, reply: Reply, model: type[_M], now_us: int) -> _M | None:
        if reply.status != 200:  # noqa: PLR2004 - HTTP's OK
            self._unwanted(reply, now_us)
            return None
        try:
            return model.model_validate_json(reply.body)
        except ValidationError as error:
            self._failed(now_us, f"the cloud's answer can't be read: {error.errors()[0]['msg']}", TIDE_REFUSED_S)
            return None

    def _heard(self, answer: Answer, now_us: int) -> None:
        self._patience.went_well(now_us, answer.retry_after_ms / 1_000)
        self._credit = answer.credit_bytes
        self.standing.heard_us, self.standing.trouble = now_us, ""
        for cursor in answer.cursors:
            key = (EpochId(cursor.epoch), Lane(cursor.lane))
            self._lanes.has(key, tuple(Span(*span) for span in cursor.committed))
        self._stand()

    def _doubt(self, answer: Answer, epochs: Sequence[EpochId]) -> None:
        """Look whether the cloud has another history; `epochs` are those that its results are about, in order."""
        try:
            self._doubts.heard(answer, epochs)
        except DiskFullError as error:
            self.standing.trouble = error.message
        self.standing.restored = self._journal.epochs()[-1] in self._doubts.denied

    def _unwanted(self, reply: Reply, now_us: int) -> None:
        """Take an answer that is a problem (RFC 9457): wait, longer where only a person can change something."""
        try:
            told = json.loads(reply.body)
            message = f"{told['code']}: {told['detail']}"
        except (ValueError, KeyError, TypeError):
            message = f"HTTP {reply.status}"
        if reply.status == 413:  # noqa: PLR2004 - content too large
            self._credit = max(FRAME_BYTES_MAX, self._credit // 2)
        temporary = reply.status in {408, 413, 429} or reply.status >= 500  # noqa: PLR2004 - HTTP's classes
        self._failed(now_us, message, reply.retry_after_s if temporary else TIDE_REFUSED_S)

    def _failed(self, now_us: int, why: str, asked_s: float = 0.0) -> None:
        self._patience.failed(now_us, asked_s)
        self.standing.connected, self.standing.trouble = False, why

    # What is known to be there.

    def _save(self, now_us: int) -> None:
        """Remember what the cloud has, so that the journal can be trimmed behind it."""
        if now_us < self._saved[0] + TIDE_SAVE_EVERY_US:
            return
        sure = {key: spans for key, spans in self._lanes.committed().items() if self._doubts.trusts(*key, spans)}
        data = committed_bytes(sure)
        if data != self._saved[1]:
            try:
                self._memory.save(data)
            except DiskFullError as error:
                self.standing.trouble = error.message
                return
        self._saved = (now_us, data)
