"""The body of a request: frames one after another, each behind its length."""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from tidegate.frames.refusal import FrameError
from tidegate.limits import FRAMES_BODY_BYTES_MAX

MEDIA_TYPE: Final = "application/vnd.tidegate.frames"
LENGTH: Final = struct.Struct("<I")
"""Stands before each frame: its length, unsigned, little endian."""


def packed(frames: Iterable[bytes]) -> bytes:
    """Return frames as a body.

    Raises:
        FrameError: oversized.
    """
    body = b"".join(part for frame in frames for part in (LENGTH.pack(len(frame)), frame))
    _bounded(len(body))
    return body


def unpacked(body: bytes | memoryview) -> Iterator[memoryview]:
    """Yield the frames of a body, unread: each views the body.

    Raises:
        FrameError: oversized; or malformed, once what comes before was yielded.
    """
    view, at = memoryview(body), 0
    _bounded(len(view))
    while at < len(view):
        stop = at + LENGTH.size
        stop += LENGTH.unpack_from(view, at)[0] if stop <= len(view) else 0
        if stop > len(view):
            raise FrameError("malformed", f"the body ends within the frame at byte {at}")
        yield view[at + LENGTH.size : stop]
        at = stop


def _bounded(size: int) -> None:
    if size > FRAMES_BODY_BYTES_MAX:
        raise FrameError("oversized", f"{size} bytes in one request, more than {FRAMES_BODY_BYTES_MAX}: send fewer")
