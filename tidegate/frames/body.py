"""The body of a request: frames one after another, each behind its length."""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from tidegate.frames.envelope import ENVELOPE_BYTES_MIN
from tidegate.frames.refusal import FrameError
from tidegate.limits import FRAMES_BODY_BYTES_MAX, FRAMES_BODY_FRAMES_MAX

MEDIA_TYPE: Final = "application/vnd.tidegate.frames"
LENGTH: Final = struct.Struct("<I")
"""Stands before each frame: its length, unsigned, little endian."""


def packed(frames: Iterable[bytes]) -> bytes:
    """Return frames as a body.

    Raises:
        FrameError: oversized.
    """
    each = list(frames)
    body = b"".join(part for frame in each for part in (LENGTH.pack(len(frame)), frame))
    _bounded(len(body), len(each))
    return body


def unpacked(body: bytes | memoryview) -> Iterator[memoryview]:
    """Return the frames of a body, unread: each views the body.

    Raises:
        FrameError: oversized, before any is yielded; or malformed, once what comes before was yielded: the body ends
            within a frame, or something is shorter than any frame.
    """
    view = memoryview(body)
    _bounded(len(view), 0)
    _bounded(len(view), sum(1 for _ in islice(_stops(view), FRAMES_BODY_FRAMES_MAX + 1)))
    return _each(view)


def _stops(view: memoryview) -> Iterator[tuple[int, int]]:
    """Yield where each frame begins and ends; the last may end behind the body."""
    at = 0
    while at < len(view):
        start = at + LENGTH.size
        at = start + (LENGTH.unpack_from(view, at)[0] if start <= len(view) else 0)
        yield start, at


def _each(view: memoryview) -> Iterator[memoryview]:
    for start, stop in _stops(view):
        if stop > len(view):
            raise FrameError("malformed", f"the body ends within the frame at byte {start - LENGTH.size}")
        if stop - start < ENVELOPE_BYTES_MIN:
            raise FrameError("malformed", f"{stop - start} bytes at byte {start} are shorter than any frame")
        yield view[start:stop]


def _bounded(size: int, frames: int) -> None:
    if size > FRAMES_BODY_BYTES_MAX:
        raise FrameError("oversized", f"{size} bytes in one request, more than {FRAMES_BODY_BYTES_MAX}: send fewer")
    if frames > FRAMES_BODY_FRAMES_MAX:
        raise FrameError("oversized", f"more than {FRAMES_BODY_FRAMES_MAX} frames in one request: send fewer")
