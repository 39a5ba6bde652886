"""Records as sites send them and the log keeps them: frames, signed by a key of the tests."""

from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serve_apps.archive.archive import rows_of
from serve_apps.archive.ports import Piece, Store
from serve_apps.plumbing.stream.log import ARTIFACTS
from tidegate.artifacts import Artifact, Whole
from tidegate.frames import OF_LANE, Origin, Signer, encode, key_id
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import CHAIN_START, DECISION, DECISION_BODY_BYTES, Kind, Lane, Record, event_body

NOW_US: Final = 1_795_500_000_000_000
SOURCE: Final = "site-1.g0.0123456789abcdef"
_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER: Final = Signer(key_id(_KEY.public_key()), _KEY.sign)
PUBLIC: Final = _KEY.public_key().public_bytes_raw()


def source(site: int) -> str:
    """Return the source of a site by its number."""
    return f"site-{site}.g0.0123456789abcdef"


def decision_rows(first: int, count: int) -> np.ndarray[Any, Any]:
    """Return `count` decisions, a second apart, from seq `first` on."""
    rows = np.zeros(count, DECISION)
    rows["seq"] = rows["pos"] = np.arange(first, first + count)
    rows["time_us"] = NOW_US + rows["seq"].astype(np.int64) * 1_000_000
    rows["lane"], rows["kind"], rows["size"] = Lane.DECISIONS, Kind.DECISION, DECISION_BODY_BYTES
    rows["transaction_id"] = [f"t-{seq}" for seq in range(first, first + count)]
    rows["features"] = rows["seq"][:, None] / 7
    return rows


def event(kind: Kind, seq: int, values: dict[str, Any]) -> Record:
    """Return one record of the events lane."""
    return Record(Lane.EVENTS, kind, seq, seq, NOW_US + seq, event_body(values))


def label(seq: int) -> Record:
    """Return the receipt of a label."""
    told = {"label_id": f"l-{seq}", "merchant": "m-1", "transaction_id": f"t-{seq}", "verdict": "fraud"}
    return event(Kind.LABEL_RECEIVED, seq, {**told, "known_us": NOW_US, "source": "chargeback"})


def frame(lane: Lane, canonical: bytes, of: str = SOURCE) -> bytes:
    """Return canonical records as a frame."""
    site, gate, epoch = of.split(".")
    origin = Origin(SiteId(site), GateId(gate), EpochId(epoch))
    return encode(origin, canonical, CHAIN_START, SIGNER, layout=OF_LANE[lane]).data


def decisions_frame(first: int, count: int, of: str = SOURCE) -> bytes:
    """Return a frame of decisions from seq `first` on."""
    return frame(Lane.DECISIONS, decision_rows(first, count).tobytes(), of)


def events_frame(*records: Record, of: str = SOURCE) -> bytes:
    """Return a frame of records of the events lane."""
    return frame(Lane.EVENTS, b"".join(record.to_bytes() for record in records), of)


def parts_of(artifact: Artifact) -> list[bytes]:
    """Return a text in parts, as a site sends them."""
    whole = Whole(artifact.kind, artifact.text.encode())
    return [whole.part(number, SiteId("site-1"), SIGNER).data for number in range(1, whole.parts + 1)]


def keep(store: Store, *artifacts: Artifact) -> None:
    """Put texts into an archive's tables, as its consumer does; each under a partition of its own."""
    for artifact in artifacts:
        for offset, part in enumerate(parts_of(artifact)):
            for table, batch in rows_of(part, ARTIFACTS, NOW_US).items():
                store.append(table, [Piece(artifact.sha256, offset, batch)])
