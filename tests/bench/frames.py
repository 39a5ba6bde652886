"""What a decision costs in a frame: bytes on the wire, CPU to make it and to prove it, by how many share a frame.

`python -m tests.bench.frames` lets a real gate decide generated payments, frames its journal, and prints a table and
one JSON object. Beside it JSON rows compressed by zstd, as most carry them: with the same hashes, signed once a
message, so that only the form differs. CPU time of this process, the least of several rounds.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bench.decided import decided
from tidegate.frames import OF_LANE, Origin, Signer, encode, key_id, parse, records, verify
from tidegate.frames.payload import compressed
from tidegate.frames.run import SMALL_FRAME_RECORDS
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import CHAIN_START, DECISION, HEAD_BYTES, Lane, chained
from tidegate.wire import decisions_to_arrow

BATCHES: Final = (1, 16, 256, 1_024, 4_096)
DENSE: Final = 30_000  # payments before: by then most cards have a past, and few features are missing
ROUNDS: Final = 7
_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_PUBLIC: Final = _KEY.public_key()
_SIGNER: Final = Signer(key_id(_PUBLIC), _KEY.sign)
_ORIGIN: Final = Origin(SiteId("site-1"), GateId("g0"), EpochId("0123456789abcdef"))
_DECISIONS: Final = OF_LANE[Lane.DECISIONS]
_SIGNATURE: Final = 64
_RAW: Final = ("request_hash",)
_SIZE: Final = DECISION.itemsize


def cost_us(work: Callable[[], object], rows: int) -> float:
    """Return the CPU microseconds a row of the fastest round."""
    times = []
    for _ in range(ROUNDS):
        repeats = max(256 // rows, 1)
        began = time.process_time()
        for _ in range(repeats):
            work()
        times.append((time.process_time() - began) / repeats)
    return min(times) / rows * 1e6


def frame(run: bytes) -> bytes:
    """Return a run as a frame."""
    return encode(_ORIGIN, run, CHAIN_START, _SIGNER, layout=_DECISIONS).data


def proven(data: bytes) -> bytes:
    """Return the run of a frame, all of it checked."""
    one = parse(data)
    verify(one, _PUBLIC)
    return records(one).canonical


def _plain(row: Any) -> dict[str, Any]:
    said = {}
    for name, value in zip(DECISION.names or (), row.tolist(), strict=True):
        text = value.hex() if name in _RAW else value.decode() if isinstance(value, bytes) else value
        said[name] = text if not isinstance(text, np.ndarray) else text.tolist()
    return said


def _digest(run: bytes) -> bytes:
    after = chained(CHAIN_START, memoryview(run), range(_SIZE, len(run) + 1, _SIZE))
    return hashlib.sha256(run).digest() + after


def json_rows(run: bytes) -> bytes:
    """Return a run as JSON rows, compressed and signed."""
    rows = json.dumps([_plain(row) for row in np.frombuffer(run, DECISION)], separators=(",", ":")).encode()
    body = _digest(run) + zstandard.compress(rows)
    return _KEY.sign(body) + body


def json_proven(data: bytes) -> bytes:
    """Return the run of JSON rows, all of it checked.

    Raises:
        AssertionError: it isn't what was signed.
    """
    _PUBLIC.verify(data[:_SIGNATURE], data[_SIGNATURE:])
    said, rows = data[_SIGNATURE : 2 * _SIGNATURE], json.loads(zstandard.decompress(data[2 * _SIGNATURE :]))
    made = [
        tuple(
            bytes.fromhex(value) if name in _RAW else value.encode() if isinstance(value, str) else value
            for name, value in row.items()
        )
        for row in rows
    ]
    run = np.array(made, DECISION).tobytes()
    if _digest(run) != said:
        raise AssertionError("the rows aren't those that were signed")
    return run


def whole_values(run: bytes) -> int:
    """Return the bytes of a payload of columns that hold whole values instead of planes."""
    return len(compressed(decisions_to_arrow(run), "arrow" if len(run) // _SIZE >= SMALL_FRAME_RECORDS else "batch"))


FORMS: Final = {"frame": (frame, proven), "json": (json_rows, json_proven)}


def measured(run: bytes) -> dict[str, float]:
    """Return the bytes and the CPU microseconds a row of both forms."""
    rows = len(run) // _SIZE
    found = {"columns_bytes": round(whole_values(run) / rows, 1)}
    for form, (make, read) in FORMS.items():
        data = make(run)
        if read(data) != run:
            raise AssertionError(f"{form}: other bytes came back")
        found[f"{form}_bytes"] = round(len(data) / rows, 1)
        found[f"{form}_encode_us"] = round(cost_us(partial(make, run), rows), 2)
        found[f"{form}_decode_us"] = round(cost_us(partial(read, data), rows), 2)
    return found


def main() -> None:
    """Measure, print a table, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", type=int, default=DENSE, help="payments that a gate decides before those measured")
    warm = parser.parse_args().warm
    run = decided(BATCHES[-1], warm=warm)
    print(f"{len(run) // _SIZE} decisions of {_SIZE} bytes ({_SIZE - HEAD_BYTES} behind the head), after {warm} others")
    print(f"{'rows':>6}{'':8}{'bytes':>9}{'encode':>10}{'decode':>10}   µs of CPU a row")
    told = {}
    for rows in BATCHES:
        told[str(rows)] = found = measured(run[: rows * _SIZE])
        for form in FORMS:
            size, made, read = (found[f"{form}_{what}"] for what in ("bytes", "encode_us", "decode_us"))
            print(f"{rows:6}  {form:6}{size:9,.1f}{made:10,.2f}{read:10,.2f}")
        print(f"{rows:6}  values{found['columns_bytes']:9,.1f}   columns of whole values, no header")
    largest = told[str(BATCHES[-1])]
    per_s = {"frame_decoded_per_cpu_s": round(1e6 / largest["frame_decode_us"])}
    print(json.dumps({"warm": warm, "rows": told} | per_s))


if __name__ == "__main__":
    main()
