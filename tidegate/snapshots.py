"""Snapshots: what other origins than one did to cards, merged, as an Arrow file that a gate maps into its memory.

Rows are `card` and `state`, the bytes of `tidegate.features.state.CARD`. The schema's metadata say what is in them:
all deltas up to the version `through`, but those of the origin that the snapshot is for; of that origin the cloud has
seen all up to the position `own_through`.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa

from tidegate.errors import PermanentError
from tidegate.features.declarations import FINGERPRINT
from tidegate.features.state import CARD, Cards
from tidegate.limits import FEATURES_SNAPSHOT_CARDS_MAX

SNAPSHOT_MEDIA_TYPE: Final = "application/vnd.apache.arrow.file"
_SCHEMA: Final = pa.schema([("card", pa.string()), ("state", pa.binary(CARD.itemsize))])
_NUMBERS: Final = ("through", "own_through")
_ERRORS: Final = (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, EOFError)


class SnapshotError(PermanentError):
    """Bytes that are no snapshot, or one of features that this program doesn't read."""

    code = "SNAPSHOT_REFUSED"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """`states` are CARD rows, one for each of `cards`; `through` is -1 where no delta is in them."""

    cards: tuple[str, ...]
    states: Cards
    through: int
    own_through: int

    def to_bytes(self) -> bytes:
        """Return the Arrow file."""
        told = {"features": FINGERPRINT, "through": str(self.through), "own_through": str(self.own_through)}
        states = pa.FixedSizeBinaryArray.from_buffers(
            _SCHEMA.field("state").type, len(self.cards), [None, pa.py_buffer(self.states.tobytes())]
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _SCHEMA.with_metadata(told)) as writer:
            writer.write_batch(pa.record_batch([pa.array(self.cards, pa.string()), states], schema=_SCHEMA))
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """Return the snapshot that a file holds; its states are a copy.

        Raises:
            SnapshotError: torn, foreign, above its bound, or of other features.
        """
        try:
            table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
            table.validate(full=True)
            told = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
            through, own_through = (int(told[name]) for name in _NUMBERS)
        except _ERRORS as error:
            raise SnapshotError(f"snapshot: no Arrow file of ours ({error}); fetch it again") from None
        if told.get("features") != FINGERPRINT:
            raise SnapshotError("snapshot: of other features than this program's; upgrade it, or the cloud")
        if not table.schema.remove_metadata().equals(_SCHEMA) or any(column.null_count for column in table.columns):
            raise SnapshotError("snapshot: other columns than card and state, or a value is missing; fetch it again")
        if table.num_rows > FEATURES_SNAPSHOT_CARDS_MAX:
            raise SnapshotError(f"snapshot: more than {FEATURES_SNAPSHOT_CARDS_MAX} cards")
        states = np.frombuffer(b"".join(table["state"].to_pylist()), CARD).copy()
        return cls(tuple(table["card"].to_pylist()), states, through, own_through)
