"""Frames: what a site sends up. Both tiers build on this; docs/tide.md says every byte.

A frame is a contiguous run of one lane of one (site, gate, epoch): `encode` makes it of canonical records; `parse`
reads its header, `verify` proves who signed it, and `records` gives the records back, to the byte, or refuses the
frame. A head says how far the lanes reach. What can't be taken raises `FrameError` with a stable `reason`.
"""

from tidegate.frames.body import MEDIA_TYPE, packed, unpacked
from tidegate.frames.envelope import Sign, key_id, public_key
from tidegate.frames.headers import Coding, Head, Header, LaneHead
from tidegate.frames.layouts import KNOWN, OF_LANE, Decisions, Events, Layout
from tidegate.frames.refusal import REASONS, FrameError, Reason
from tidegate.frames.run import (
    Frame,
    Origin,
    Run,
    SignedHead,
    Signer,
    encode,
    encode_all,
    parse,
    records,
    verify,
)

__all__ = [
    "KNOWN",
    "MEDIA_TYPE",
    "OF_LANE",
    "REASONS",
    "Coding",
    "Decisions",
    "Events",
    "Frame",
    "FrameError",
    "Head",
    "Header",
    "LaneHead",
    "Layout",
    "Origin",
    "Reason",
    "Run",
    "Sign",
    "SignedHead",
    "Signer",
    "encode",
    "encode_all",
    "key_id",
    "packed",
    "parse",
    "public_key",
    "records",
    "unpacked",
    "verify",
]
