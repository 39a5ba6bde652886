"""The intake: takes a request apart, and lets in only what an enrolled site signed and what holds what it says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final, NamedTuple

from serve_apps.ingest.ports import Keys
from tidegate.artifacts import Part
from tidegate.events import check
from tidegate.frames import (
    KNOWN,
    Frame,
    FrameError,
    Head,
    Header,
    Layout,
    Run,
    SignedHead,
    parse,
    public_key,
    records,
    unpacked,
    verify,
)
from tidegate.records import HEAD_BYTES, Lane
from tidegate.tide import Status

UNKNOWN_KEY: Final = "unknown_key"
REVOKED_KEY: Final = "revoked_key"
OTHER_SITE: Final = "other_site"
Known = Mapping[str, Layout]


class Unwanted(NamedTuple):
    """A frame that isn't let in, and why; `header` where it could be read."""

    status: Status
    reason: str
    message: str
    header: Header | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Admitted:
    """A frame whose signature and records are proven; `first_us` and `last_us`: the times of its records, at most."""

    frame: Frame
    first_us: int
    last_us: int

    @property
    def header(self) -> Header:
        """What it says of itself, all of it true."""
        return self.frame.header


def admit(body: bytes, keys: Keys, known: Known = KNOWN) -> Iterator[Admitted | Unwanted]:
    """Yield what becomes of each frame of a request, in order; where the request ends within one, that is the last.

    `known` are the schemas that this program reads.

    Raises:
        FrameError: oversized: nothing of the request was looked at, since nobody knows yet who sent it.
    """
    frames = unpacked(body)
    try:
        for data in frames:
            yield _one(bytes(data), keys, known)
    except FrameError as error:
        yield Unwanted(Status.REFUSED, error.reason, error.message, None, b"")


def admit_head(data: bytes, keys: Keys) -> Head:
    """Return what a head says, once it is proven who signed it.

    Raises:
        FrameError: malformed, oversized or signature.
        UnwantedError: its key is unknown, revoked, or another site's.
    """
    signed = SignedHead.parse(data)
    verify(signed, public_key(_key(signed.header.site, signed.header.key, keys)))
    return signed.header


def admit_part(data: bytes, keys: Keys) -> Part:
    """Return a part of a text, once it is proven who signed it.

    Raises:
        FrameError, UnwantedError: as for `admit_head`.
    """
    part = Part.parse(data)
    verify(part, public_key(_key(part.header.site, part.header.key, keys)))
    return part


class UnwantedError(FrameError):
    """The key that a frame names may not sign it, or its site may have no more of its kind."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__("signature", message)
        self.word, self.code = reason, reason.upper()


def _one(data: bytes, keys: Keys, known: Known) -> Admitted | Unwanted:
    header = None
    try:
        frame = parse(data)
        header = frame.header
        verify(frame, public_key(_key(header.site, header.key, keys)))
    except UnwantedError as error:
        return Unwanted(Status.REFUSED, error.word, error.message, header, data)
    except FrameError as error:  # nobody whom the cloud knows has vouched for these bytes: nothing is kept
        return Unwanted(Status.REFUSED, error.reason, error.message, header, data)
    try:
        run = records(frame, known)
        _prove_said(run)
        times = run.heads()["time_us"]
    except FrameError as error:
        return Unwanted(Status.QUARANTINED, error.reason, error.message, header, data)
    return Admitted(frame, int(times.min()), int(times.max()))


def _prove_said(run: Run) -> None:
    """Refuse events that who reads them couldn't: once committed they can't be taken back."""
    if run.header.lane != Lane.EVENTS:
        return
    for seq, kind, record in zip(count(run.header.first), run.heads()["kind"].tolist(), run.each(), strict=False):
        try:
            check(kind, record[HEAD_BYTES:])
        except ValueError as error:
            raise FrameError("schema", f"the record {seq} of kind {kind}: {error}") from None


def _key(site: str, key_id: str, keys: Keys) -> bytes:
    key = keys.key(key_id)
    if key is None:
        raise UnwantedError(UNKNOWN_KEY, f"no site has enrolled the key {key_id}: enrol {site}")
    if key.site != site:
        raise UnwantedError(OTHER_SITE, f"the key {key_id} is not one of {site}")
    if key.revoked_us is not None:
        raise UnwantedError(REVOKED_KEY, f"the key {key_id} of {site} was revoked: {key.why}")
    return key.public
