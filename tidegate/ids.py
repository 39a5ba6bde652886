"""Identities: who made a record, which record it is, and ids that are made once and kept for ever."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, NewType, Self

from tidegate.limits import NAME_BYTES_MAX

SiteId = NewType("SiteId", str)
GateId = NewType("GateId", str)
EpochId = NewType("EpochId", str)
CardToken = NewType("CardToken", str)
DeviceId = NewType("DeviceId", str)
TerminalId = NewType("TerminalId", str)
MerchantId = NewType("MerchantId", str)
TransactionId = NewType("TransactionId", str)
BundleId = NewType("BundleId", str)
LabelId = NewType("LabelId", str)
PolicyId = NewType("PolicyId", str)

Entropy = Callable[[int], bytes]
"""A source of `n` random bytes: `os.urandom` in life, a seeded one in simulation. Always passed in."""

EPOCH_HEX: Final = 16
_NAME: Final = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{NAME_BYTES_MAX - 1}}}")
_EPOCH: Final = re.compile(rf"[0-9a-f]{{{EPOCH_HEX}}}")
_LANE: Final = re.compile(r"L([0-3])")
_SEQ: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_SEQ_MAX: Final = (1 << 64) - 1


def new_epoch(entropy: Entropy) -> EpochId:
    """Return a random epoch id of 16 hex digits: two restored copies of one disk never share it."""
    return EpochId(entropy(EPOCH_HEX // 2).hex())


def uuid7(now_us: int, entropy: Entropy) -> str:
    """Return a UUIDv7 (RFC 9562 §5.7) for `now_us`, microseconds UTC, as 36 characters."""
    random = int.from_bytes(entropy(10), "big")
    value = (now_us // 1000) << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0b10 << 62 | (random & (1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_name(text: str) -> bool:
    """Tell whether `text` may name a site or a gate: lower case letters, digits and dashes."""
    return _NAME.fullmatch(text) is not None


class RecordId(NamedTuple):
    """Identifies one record for ever, written `site.gate.epoch.L1.42`."""

    site: SiteId
    gate: GateId
    epoch: EpochId
    lane: int
    seq: int

    def __str__(self) -> str:
        return f"{self.site}.{self.gate}.{self.epoch}.L{self.lane}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the id that `text` writes, or None where it writes none."""
        parts = text.split(".")
        if len(parts) != len(cls._fields):
            return None
        site, gate, epoch, lane, seq = parts
        matched = _LANE.fullmatch(lane)
        if matched is None or not (is_name(site) and is_name(gate) and _EPOCH.fullmatch(epoch)):
            return None
        # One record has one spelling, and digits without end never reach int(), which refuses them by an error.
        if not _SEQ.fullmatch(seq) or int(seq) > _SEQ_MAX:
            return None
        return cls(SiteId(site), GateId(gate), EpochId(epoch), int(matched[1]), int(seq))
