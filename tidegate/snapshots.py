"""Snapshots: what other origins than one did to cards, merged, as an Arrow file that a gate maps into its memory.

Rows are `card`, `state` (the bytes of `tidegate.features.state.CARD`) and `version`: all deltas of that card up to this
version are in its state, but those of the origin that the snapshot is for. Cards are read while others fold, so their
versions differ: whoever goes on behind `through` of the schema's metadata, the lowest of them, counts a delta for a
row only where its version is above the row's, and misses none of a card that has no row. `own_through` is the position
up to which the cloud has seen what that origin itself did.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from tidegate.errors import PermanentError
from tidegate.features.declarations import FINGERPRINT
from tidegate.features.state import CARD, Cards
from tidegate.limits import FEATURES_SNAPSHOT_CARDS_MAX

SNAPSHOT_MEDIA_TYPE: Final = "application/vnd.apache.arrow.file"
_SCHEMA: Final = pa.schema([("card", pa.string()), ("state", pa.binary(CARD.itemsize)), ("version", pa.int64())])
_NUMBERS: Final = ("through", "own_through")
_ERRORS: Final = (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, EOFError)


class SnapshotError(PermanentError):
    """Bytes that are no snapshot, or one of features that this program doesn't read."""

    code = "SNAPSHOT_REFUSED"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """`states` (rows of CARD) and `versions` (int64) have a row for each of `cards`; -1: no delta is in it."""

    cards: tuple[str, ...]
    states: Cards
    versions: np.ndarray[Any, np.dtype[np.int64]]
    through: int
    own_through: int

    def to_bytes(self) -> bytes:
        """Return the Arrow file."""
        told = {"features": FINGERPRINT, "through": str(self.through), "own_through": str(self.own_through)}
        states = pa.FixedSizeBinaryArray.from_buffers(
            _SCHEMA.field("state").type, len(self.cards), [None, pa.py_buffer(self.states.tobytes())]
        )
        columns = [pa.array(self.cards, pa.string()), states, pa.array(self.versions)]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _SCHEMA.with_metadata(told)) as writer:
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """Return the snapshot that a file holds; its states are a copy.

        Raises:
            SnapshotError: torn, foreign, above its bound, or of other features.
        """
        table, through, own_through = _opened(data)
        if not table.schema.remove_metadata().equals(_SCHEMA) or any(column.null_count for column in table.columns):
            raise SnapshotError("snapshot: other columns than its own, or a value is missing; fetch it again")
        if table.num_rows > FEATURES_SNAPSHOT_CARDS_MAX:
            raise SnapshotError(f"snapshot: more than {FEATURES_SNAPSHOT_CARDS_MAX} cards")
        states = np.frombuffer(b"".join(table["state"].to_pylist()), CARD).copy()
        return cls(tuple(table["card"].to_pylist()), states, table["version"].to_numpy(), through, own_through)


def _opened(data: bytes | memoryview) -> tuple[pa.Table, int, int]:
    try:
        table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
        table.validate(full=True)
        told = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
        through, own_through = (int(told[name]) for name in _NUMBERS)
    except _ERRORS as error:
        raise SnapshotError(f"snapshot: no Arrow file of ours ({error}); fetch it again") from None
    if told.get("features") != FINGERPRINT:
        raise SnapshotError("snapshot: of other features than this program's; upgrade it, or the cloud")
    return table, through, own_through
