"""Checkpoints of a window: one file at one position of the journal, proven whole before it is used."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from actors.window.window import Window
from tidegate.errors import JournalFormatError

MAGIC: Final = b"TGCP0001"
_LENGTHS: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A window as it was after the record at `pos` of `epoch`."""

    epoch: str
    pos: int
    window: Window


def encode(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as bytes: magic, lengths, index, cards, terminals, SHA-256 of all before it."""
    parts = checkpoint.window.to_bytes()
    index = json.dumps({"epoch": checkpoint.epoch, "pos": checkpoint.pos, "window": parts["index"]}).encode()
    bodies = [index, parts["cards"], parts["terminals"]]
    raw = [body for body in bodies if isinstance(body, bytes)]
    head = MAGIC + b"".join(len(body).to_bytes(8, "little") for body in raw)
    whole = head + b"".join(raw)
    return whole + hashlib.sha256(whole).digest()


def decode(data: bytes) -> Checkpoint:
    """Return the checkpoint that `encode` made.

    Raises:
        JournalFormatError: it is damaged, of an unknown version, or of another feature kernel.
    """
    whole, digest = data[:-32], data[-32:]
    if hashlib.sha256(whole).digest() != digest or not whole.startswith(MAGIC):
        raise JournalFormatError("checkpoint: damaged or of an unknown version; it is rebuilt from the journal")
    at = len(MAGIC) + 8 * _LENGTHS
    bodies: list[bytes] = []
    for place in range(len(MAGIC), at, 8):
        length = int.from_bytes(whole[place : place + 8], "little")
        bodies.append(whole[at : at + length])
        at += length
    head: dict[str, Any] = json.loads(bodies[0])
    window = Window.from_bytes(head["window"], bodies[1], bodies[2])
    return Checkpoint(epoch=str(head["epoch"]), pos=int(head["pos"]), window=window)
