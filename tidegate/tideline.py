"""How far the cloud is known to have come with a site's journal: what an uplink writes down, and a gate reads.

Two small files beside the journal. What was committed, so that the journal goes only behind it; and a witness, where
the cloud has another history of an epoch than the journal: then a copy of it was put back, and a new epoch has to
begin. Both are true for ever, whoever reads them when: neither is ever taken back, nor has to be removed.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from tidegate.ids import EpochId
from tidegate.passages import UNKNOWN, Passage, Span
from tidegate.records import Lane

COMMITTED: Final = "committed.json"
WITNESS: Final = "witness.json"
_FORMAT: Final = 1
_HASH_BYTES: Final = 32
Key = tuple[EpochId, Lane]


class Witness(NamedTuple):
    """The cloud has record `seq` of a lane, with the running hash `chain` behind it; UNKNOWN: it doesn't tell."""

    epoch: EpochId
    lane: Lane
    seq: int
    chain: bytes

    def denies(self, last: int, chain: bytes) -> bool:
        """Tell whether a journal with records up to `last`, and `chain` behind record `seq`, is another history."""
        if self.seq > last:
            return True
        return UNKNOWN not in {self.chain, chain} and chain != self.chain


class Told(Protocol):
    """What a journal tells of its lanes."""

    def last(self, epoch: EpochId, lane: Lane) -> int:
        """Return the last durable sequence number of a lane; 0: none."""

    def read(
        self, epoch: EpochId, lane: Lane, first: int, *, through: int, records_max: int, bytes_max: int
    ) -> Passage | None:
        """Return the passage that begins at `first`, or at the first record behind it that can be read."""


def denied(witness: Witness, journal: Told) -> bool:
    """Tell whether the cloud has another history of an epoch than a journal that holds it; reads one record."""
    lane, seq = witness.lane, witness.seq
    last = journal.last(witness.epoch, lane)
    if seq > last or witness.chain == UNKNOWN:
        return witness.denies(last, UNKNOWN)
    there = journal.read(witness.epoch, lane, seq, through=seq, records_max=1, bytes_max=1)
    return witness.denies(last, UNKNOWN if there is None else there.after)


def witness_bytes(witness: Witness) -> bytes:
    """Return the file's content."""
    said = {"format": _FORMAT, "epoch": witness.epoch, "lane": witness.lane, "seq": witness.seq}
    return json.dumps(said | {"chain": witness.chain.hex()}, sort_keys=True).encode()


def parse_witness(data: bytes) -> Witness | None:
    """Return what `witness_bytes` wrote; None: there is none, or it can't be read."""
    said = _read(data)
    try:
        chain = bytes.fromhex(said["chain"])
        made = Witness(EpochId(str(said["epoch"])), Lane(said["lane"]), int(said["seq"]), chain)
    except (KeyError, ValueError, TypeError):
        return None
    return made if len(chain) in {0, _HASH_BYTES} else None


def committed_bytes(committed: Mapping[Key, tuple[Span, ...]]) -> bytes:
    """Return the file's content."""
    spans = {f"{epoch}/L{lane:d}": there for (epoch, lane), there in committed.items()}
    return json.dumps({"format": _FORMAT, "committed": spans}, sort_keys=True).encode()


def parse_committed(data: bytes) -> dict[Key, int]:
    """Return up to which record the cloud has all of each lane; what is missing or can't be read isn't there."""
    found: dict[Key, int] = {}
    spans = _read(data).get("committed")
    for name, there in spans.items() if isinstance(spans, dict) else ():
        epoch, _, lane = name.partition("/L")
        try:
            (first, last), *_ = there
            if first == 1:
                found[EpochId(epoch), Lane(int(lane))] = int(last)
        except (ValueError, TypeError):
            continue
    return found


def _read(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except ValueError:
        return {}
    return said if isinstance(said, dict) and said.get("format") == _FORMAT else {}
