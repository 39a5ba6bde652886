"""Checkpoints of a window: one file at one position of the journal, proven whole before it is used."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from actors.window.overlay import Reached
from actors.window.table import HOLDER, Table
from actors.window.window import Window, WindowCopy
from tidegate.errors import JournalFormatError
from tidegate.features.declarations import FINGERPRINT

MAGIC: Final = b"TGCP0003"
_LENGTHS: Final = {b"TGCP0002": 5, MAGIC: 7}
"""Parts of each format that is read: an index and two a table. The second has no overlay, which is empty then."""
_TABLES_BEFORE: Final = 4
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A window as it was after the record at `pos` of `epoch`."""

    epoch: str
    pos: int
    window: Window


def encode(epoch: str, pos: int, copy: WindowCopy) -> bytes:
    """Return a whole copy as bytes: magic, lengths, index, two parts a table, SHA-256 of all before it."""
    index = {
        "epoch": epoch,
        "pos": pos,
        "fingerprint": FINGERPRINT,
        "cards_max": copy.cards_max,
        "terminals_max": copy.terminals_max,
        "card_uses": copy.cards.uses,
        "terminal_uses": copy.terminals.uses,
        "overlay": copy.overlay.reached._asdict(),
        "overlay_uses": copy.overlay.cards.uses,
    }
    tables = (copy.cards, copy.terminals, copy.overlay.cards)
    parts = [json.dumps(index, sort_keys=True).encode(), *(part for table in tables for part in table.bytes())]
    whole = b"".join([MAGIC, *(len(part).to_bytes(8, "little") for part in parts), *parts])
    return whole + hashlib.sha256(whole).digest()


def decode(data: bytes) -> Checkpoint:
    """Return the checkpoint that `encode` made.

    Raises:
        JournalFormatError: it is damaged, of an unknown version, or of another feature kernel.
    """
    whole, digest = memoryview(data)[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(whole).digest() != digest or data[: len(MAGIC)] not in _LENGTHS:
        raise JournalFormatError("checkpoint: damaged or of an unknown version; it is rebuilt from the journal")
    index, *tables = _parts(whole)
    told: dict[str, Any] = json.loads(bytes(index))
    if told["fingerprint"] != FINGERPRINT:
        found = told["fingerprint"]
        raise JournalFormatError(f"checkpoint: features {found}, expected {FINGERPRINT}; rebuild from the journal")
    window = Window(cards_max=told["cards_max"], terminals_max=told["terminals_max"])
    _fill(window.cards, tables[0], tables[1], told["card_uses"])
    _fill(window.terminals, tables[2], tables[3], told["terminal_uses"])
    if len(tables) > _TABLES_BEFORE:
        _fill(window.overlay.cards, tables[4], tables[5], told["overlay_uses"])
        window.overlay.go_on(Reached(**told["overlay"]))
    return Checkpoint(epoch=told["epoch"], pos=told["pos"], window=window)


def _parts(whole: memoryview) -> list[memoryview]:
    at, parts = len(MAGIC) + 8 * _LENGTHS[bytes(whole[: len(MAGIC)])], []
    for place in range(len(MAGIC), at, 8):
        length = int.from_bytes(whole[place : place + 8], "little")
        parts.append(whole[at : at + length])
        at += length
    return parts


def _fill(table: Table, holders: memoryview, state: memoryview, uses: int) -> None:
    table.fill(np.frombuffer(holders, HOLDER), np.frombuffer(state, table.state.dtype), uses)
