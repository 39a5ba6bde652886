"""Artifacts: texts that records name by digest, and how they go up to the cloud; docs/tide.md says every byte.

A record names a set of lists or a bundle by the first digits of its SHA-256; whoever decides again needs the text. It
goes up in parts, each small enough for live records to wait for it, compressed and signed like a frame, so that a log
can carry it and anybody prove who sent it. Part 0 is an offer: it holds nothing, and asks what the cloud lacks.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidegate.frames import FrameError, Signer
from tidegate.frames.envelope import Envelope
from tidegate.frames.headers import Said
from tidegate.frames.payload import compressed_text, read_text
from tidegate.ids import SiteId
from tidegate.limits import (
    ARTIFACT_BYTES_MAX,
    ARTIFACT_MANIFEST_BYTES_MAX,
    ARTIFACT_PART_BYTES,
    ARTIFACT_PARTS_MAX,
)
from tidegate.records import json_of

ARTIFACTS_PATH: Final = "/v1/artifacts"
ARTIFACT_MEDIA_TYPE: Final = "application/vnd.tidegate.artifact"
ARTIFACT_MAGIC: Final = b"TGA1"
OFFER: Final = 0
"""The number of a part that holds nothing."""
Kind = Literal["lists", "bundle"]
KINDS: Final[dict[str, Kind]] = {"l": "lists", "b": "bundle"}
"""What the first letter of a name stands for."""
_DIGEST_HEX: Final = 12
_PART_BYTES: Final[dict[Kind, int]] = {"lists": ARTIFACT_PART_BYTES, "bundle": ARTIFACT_MANIFEST_BYTES_MAX}
_CONTINUES: Final = range(0x80, 0xC0)  # a byte within a letter of UTF-8
_TIME_US_MAX: Final = (1 << 63) - 1


class Artifact(NamedTuple):
    """A text that records name by its digest. `kind` is `lists` for a set of lists, `bundle` for a model's manifest."""

    kind: Kind
    text: str

    @property
    def sha256(self) -> str:
        """The digest of the text's bytes, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """What records call it."""
        return artifact_name(self.kind, self.sha256)


def artifact_name(kind: str, sha256: str) -> str:
    """Return what records call an artifact: `l-` or `b-` and the first digits of its digest."""
    return f"{kind[0]}-{sha256[:_DIGEST_HEX]}"


def trained_at_us(manifest: bytes | str) -> int:
    """Return when a model was trained, of its manifest's JSON.

    Raises:
        ValueError: it is no manifest.
    """
    try:
        trained_us = json_of(manifest)["trained_at_us"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"no manifest of a bundle ({error})") from None
    if type(trained_us) is not int or not 0 <= trained_us <= _TIME_US_MAX:
        raise ValueError("no manifest of a bundle (trained_at_us: microseconds since 1970 are expected)")
    return trained_us


class PartHeader(Said):
    """Says which part of which text it is: `part` of `parts`, counted from 1, of a text of `bytes` bytes."""

    kind: Kind
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the whole text."""
    part: Annotated[int, Field(ge=OFFER)]
    parts: Annotated[int, Field(ge=1, le=ARTIFACT_PARTS_MAX)]
    size: Annotated[int, Field(alias="bytes", ge=1, le=ARTIFACT_BYTES_MAX)]
    """Of the whole text."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.part > self.parts:
            raise ValueError(f"part {self.part} of {self.parts}")
        if self.kind == "bundle" and self.parts != 1:
            raise ValueError("a manifest is one part")
        return self

    @property
    def name(self) -> str:
        """What records call the text."""
        return artifact_name(self.kind, self.sha256)


@dataclass(frozen=True, slots=True)
class Part:
    """A part whose header was read; its signature is proven by `tidegate.frames.verify`."""

    header: PartHeader
    envelope: Envelope

    @property
    def data(self) -> bytes:
        """The part as it goes over the wire."""
        return self.envelope.data

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Self:
        """Return the part that bytes hold; nothing of its payload is read yet.

        Raises:
            FrameError: malformed, or oversized.
        """
        envelope = Envelope.open(ARTIFACT_MAGIC, data)
        header = PartHeader.of(envelope.header)
        if (header.part == OFFER) is bool(envelope.payload):
            raise FrameError("malformed", "part 0 is an offer and holds nothing; each other part holds a text")
        return cls(header, envelope)

    def text(self) -> bytes:
        """Return the text of this part, which is UTF-8 by itself.

        Raises:
            FrameError: malformed or oversized.
        """
        text = read_text(self.envelope.payload, min(_PART_BYTES[self.header.kind], self.header.size))
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise FrameError("malformed", f"payload: no UTF-8 ({error.reason})") from None
        return text


class Whole:
    """A text and its parts, to be sent one by one."""

    def __init__(self, kind: Kind, text: bytes) -> None:
        self.kind: Kind = kind
        self.sha256 = hashlib.sha256(text).hexdigest()
        self._size = len(text)
        self._texts = tuple(_cut(text, _PART_BYTES[kind]))

    @property
    def parts(self) -> int:
        """How many there are."""
        return len(self._texts)

    def part(self, number: int, site: SiteId, signer: Signer) -> Part:
        """Return one of the parts, or the offer of all of them, signed.

        Raises:
            FrameError: malformed or oversized: the text is empty, or too large to be sent.
        """
        said = {"kind": self.kind, "sha256": self.sha256, "part": number, "parts": self.parts, "bytes": self._size}
        try:
            header = PartHeader(site=site, key=signer.key, **said)  # type: ignore[arg-type]  # as validated here
        except ValueError as error:
            raise FrameError("oversized", f"{artifact_name(self.kind, self.sha256)}: can't be sent ({error})") from None
        payload = compressed_text(self._texts[number - 1]) if number else b""
        return Part(header, Envelope.seal(ARTIFACT_MAGIC, header.canonical(), payload, signer.sign))


def _cut(text: bytes, size: int) -> Iterator[bytes]:
    """Yield a text in pieces of at most `size` bytes, none of which ends within a letter."""
    at = 0
    while at < len(text):
        stop = min(at + size, len(text))
        while stop < len(text) and text[stop] in _CONTINUES and stop > at + 1:
            stop -= 1
        yield text[at:stop]
        at = stop


class ArtifactAnswer(BaseModel):
    """What the cloud answers to a part or an offer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    next_part: Annotated[int | None, Field(ge=1, le=ARTIFACT_PARTS_MAX)] = None
    """What the cloud wants next; null: it has all of it, or wants none of it."""
    reason: str = ""
    """A stable word where it was refused; empty: it wasn't."""
    message: str = ""
