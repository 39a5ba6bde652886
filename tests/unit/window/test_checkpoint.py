"""A checkpoint is the window as of one position, proven whole before it is used."""

import hashlib
import json

import pytest

from actors.gate.start import load_checkpoint, store_checkpoint
from actors.journal.memory import MemoryDisk
from actors.window import checkpoint
from actors.window.checkpoint import decode, encode
from actors.window.window import Evicted, Window, WindowCopy
from tidegate.errors import JournalFormatError
from tidegate.limits import CHECKPOINTS_KEPT, DAY_US

NOW_US = 20_416 * DAY_US
EPOCH, OTHER = "0123456789abcdef", "fedcba9876543210"


def pay(window: Window, number: int) -> bytes:
    card, terminal = f"card-{number % 7}", f"t-{number % 3}"
    for gone in window.overdue(card, terminal):
        window.evict(gone)
    now_us = NOW_US + number * 1_000_000
    vector = window.observe(card=card, terminal=terminal, now_us=now_us, feature_us=now_us, amount_minor=100 + number)
    return vector.tobytes()


def window(payments: int) -> Window:
    made = Window(cards_max=5, terminals_max=2)
    for number in range(payments):
        pay(made, number)
    return made


def copied(of: Window) -> WindowCopy:
    copy = of.copy()
    while not copy.step():
        pass
    return copy


def test_a_window_goes_on_from_its_checkpoint_as_if_nothing_had_happened() -> None:
    live = window(40)
    stored = encode(EPOCH, 99, copied(live))
    again = decode(stored)
    assert (again.epoch, again.pos) == (EPOCH, 99)
    assert [pay(again.window, n) for n in range(40, 80)] == [pay(live, n) for n in range(40, 80)]
    assert encode(EPOCH, 1, copied(again.window)) == encode(EPOCH, 1, copied(live))


def test_a_checkpoint_of_the_release_before_has_no_overlay_and_is_taken() -> None:
    live = window(40)
    told = json.loads(_parts(encode(EPOCH, 99, copied(live)))[0])
    del told["overlay"], told["overlay_uses"]
    parts = [json.dumps(told, sort_keys=True).encode(), *_parts(encode(EPOCH, 99, copied(live)))[1:5]]
    whole = b"".join([b"TGCP0002", *(len(part).to_bytes(8, "little") for part in parts), *parts])
    again = decode(whole + hashlib.sha256(whole).digest()).window
    assert not again.overlay.begun
    assert encode(EPOCH, 99, copied(again)) == encode(EPOCH, 99, copied(live))


def _parts(data: bytes) -> list[bytes]:
    """Return the seven parts of a checkpoint of today."""
    lengths = [int.from_bytes(data[at : at + 8], "little") for at in range(8, 64, 8)]
    ends = [64 + sum(lengths[: n + 1]) for n in range(7)]
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def test_an_empty_window_has_a_checkpoint_too() -> None:
    again = decode(encode(EPOCH, 1, copied(window(0)))).window
    assert len(again.cards) == len(again.terminals) == 0
    assert pay(again, 1) == pay(window(0), 1)


@pytest.mark.parametrize("at", [0, 7, 30, 200, -40, -1])
def test_a_checkpoint_with_a_flipped_bit_is_refused(at: int) -> None:
    data = bytearray(encode(EPOCH, 1, copied(window(9))))
    data[at] ^= 4
    with pytest.raises(JournalFormatError, match="rebuilt from the journal"):
        decode(bytes(data))


@pytest.mark.parametrize("size", [0, 8, 100])
def test_a_checkpoint_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(JournalFormatError):
        decode(encode(EPOCH, 1, copied(window(9)))[:size])


def test_a_checkpoint_of_another_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(EPOCH, 1, copied(window(9)))
    monkeypatch.setattr(checkpoint, "FINGERPRINT", "another")
    with pytest.raises(JournalFormatError, match="another"):
        decode(data)


def test_the_newest_whole_checkpoint_of_the_epoch_up_to_a_position_is_loaded_and_few_are_kept() -> None:
    disk = MemoryDisk()
    store_checkpoint(disk, OTHER, 500, copied(window(1)))
    for pos in (10, 20, 30):
        store_checkpoint(disk, EPOCH, pos, copied(window(pos)))
    assert len(disk.sizes()) == CHECKPOINTS_KEPT

    def loaded(through_pos: int) -> int | None:
        found = load_checkpoint(disk, EPOCH, through_pos=through_pos)
        return found.pos if found else None

    assert [loaded(pos) for pos in (100, 30, 29, 19)] == [30, 30, 20, None]
    disk.garble(max(disk.sizes()), 50, b"damage")
    assert loaded(100) == 20
    assert load_checkpoint(disk, OTHER, through_pos=900) is None


def test_evicting_what_is_not_held_changes_nothing() -> None:
    one = window(9)
    before = encode(EPOCH, 1, copied(one))
    one.evict(Evicted("card", "nobody"))
    one.evict(Evicted("terminal", "nowhere"))
    one.label(card="nobody", terminal="nowhere", now_us=NOW_US, event_us=NOW_US, delta=1)
    assert encode(EPOCH, 1, copied(one)) == before
