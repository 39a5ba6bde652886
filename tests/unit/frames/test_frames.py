"""Frames give back every byte of a run, and refuse what isn't exactly what their header says."""

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import limits
from tidegate.frames import (
    KNOWN,
    OF_LANE,
    Coding,
    Decisions,
    Frame,
    FrameError,
    Header,
    Origin,
    Signer,
    encode,
    encode_all,
    parse,
    records,
    verify,
)
from tidegate.frames.envelope import Envelope
from tidegate.records import CHAIN_START, DECISION, DECISION_FIELDS, HEAD_FIELDS, Kind, Lane, Record, chain

SIZE = DECISION.itemsize
OLDER = np.dtype(HEAD_FIELDS + DECISION_FIELDS[:-5])
Runs = Callable[..., bytes]


def lane_chain(run: list[bytes], before: bytes = CHAIN_START) -> bytes:
    for record in run:
        before = chain(before, record)
    return before


def signed(private: Ed25519PrivateKey, header: Header, payload: bytes) -> Frame:
    """Return a frame that says anything, signed by the right key: an enrolled site gone bad."""
    return parse(Envelope.seal(b"TGF1", header.canonical(), payload, private.sign).data)


def refusal(frame: Frame) -> str:
    with pytest.raises(FrameError) as refused:
        records(frame)
    return refused.value.reason


def inside(frame: Frame) -> bytes:
    return zstandard.decompress(frame.envelope.payload)


@pytest.mark.parametrize("coding", ["arrow", "batch", None])
@pytest.mark.parametrize("count", [1, 2, 257, 1_023, 1_024])
def test_a_frame_gives_back_every_byte_of_its_decisions(
    decisions: Runs, signer: Signer, origin: Origin, private: Ed25519PrivateKey, count: int, coding: Coding | None
) -> None:
    run, before = decisions(count, 5), hashlib.sha256(b"before").digest()
    frame = encode(origin, run, before, signer, layout=OF_LANE[Lane.DECISIONS], coding=coding)

    read = parse(frame.data)
    verify(read, private.public_key())
    out = records(read)

    assert out.canonical == run
    assert list(out.each()) == [run[at : at + SIZE] for at in range(0, len(run), SIZE)]
    assert out.decisions().tobytes() == run
    header = read.header
    assert (header.site, header.gate, header.epoch, header.lane) == (*origin, 1)
    assert (header.first, header.last, header.count, header.pos) == (5, 4 + count, count, 15)
    assert (header.before, header.after) == (before.hex(), lane_chain(list(out.each()), before).hex())
    assert header.coding == (coding or ("batch" if count < 1_024 else "arrow"))


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), min_size=1, max_size=5), st.integers(1, 1 << 60)
)
@settings(max_examples=20)
def test_events_of_any_kind_and_length_come_back_to_the_byte(
    signer: Signer, origin: Origin, made: list[tuple[int, bytes]], first: int
) -> None:
    run = [
        struct.pack("<QQqBBHI", first + n, first + 2 * n, -n, Lane.EVENTS, kind, 0, len(body)) + body
        for n, (kind, body) in enumerate(made)
    ]
    frame = encode(origin, b"".join(run), CHAIN_START, signer, layout=OF_LANE[Lane.EVENTS])

    out = records(parse(frame.data))

    assert list(out.each()) == run
    assert out.header.after == lane_chain(run).hex()
    assert out.heads()["kind"].tolist() == [kind for kind, _ in made]
    with pytest.raises(ValueError, match="lane 2 has no decisions"):
        out.decisions()


def test_an_event_in_a_frame_is_the_record_that_was_journaled(events: Runs, signer: Signer, origin: Origin) -> None:
    out = records(encode(origin, events(3), CHAIN_START, signer, layout=OF_LANE[Lane.EVENTS]))

    assert [Record.from_bytes(one).values() for one in out.each()] == [{"n": "é"}, {"n": "éé"}, {"n": "ééé"}]


def test_a_frame_is_read_with_zstd_and_any_reader_of_arrow(decisions: Runs, framed: Callable[..., Frame]) -> None:
    """What docs/tide.md says, followed by hand."""
    run = decisions(300)
    data = framed(run, "arrow").data
    assert data[:4] == b"TGF1"
    (length,) = struct.unpack("<I", data[4:8])
    header = json.loads(data[8 : 8 + length])
    (batch,) = pa.ipc.open_stream(zstandard.decompress(data[8 + length + 64 :]))

    rows = np.frombuffer(run, DECISION)
    assert tuple(batch.schema.names) == DECISION.names
    assert batch.schema.metadata == {b"schema": header["schema"].encode(), b"layout": b"planes"}
    for name in ("amount_minor", "transaction_id", "probability"):
        field = batch.schema.field(name)
        planes = np.frombuffer(b"".join(batch.column(name).to_pylist()), np.uint8).reshape(field.type.byte_width, 300)
        column = planes.T.copy().view(field.metadata[b"type"].decode()).reshape(-1)
        assert column.tobytes() == rows[name].tobytes()
    assert batch.schema.field("features").metadata == {b"type": b"<f4[40]"}
    assert header["sha256"] == hashlib.sha256(run).hexdigest()


def test_another_key_or_another_name_of_the_key_is_refused(
    decisions: Runs, framed: Callable[..., Frame], private: Ed25519PrivateKey
) -> None:
    frame = framed(decisions(2))
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    renamed = frame.header.model_copy(update={"key": "0" * 16})

    for one, key in (
        (frame, other.public_key()),
        (signed(private, renamed, bytes(frame.envelope.payload)), private.public_key()),
        (signed(other, frame.header, bytes(frame.envelope.payload)), private.public_key()),
    ):
        with pytest.raises(FrameError, match=r"^signature: ") as refused:
            verify(one, key)
        assert refused.value.reason == "signature"
    verify(frame, private.public_key())


@pytest.mark.parametrize("at", ["header", "signature", "payload"])
def test_a_byte_changed_anywhere_breaks_the_signature(
    decisions: Runs, framed: Callable[..., Frame], private: Ed25519PrivateKey, at: str
) -> None:
    frame = framed(decisions(3))
    data = bytearray(frame.data)
    if at == "header":
        where = data.index(b"site-1") + 5
        data[where] = ord("2")
    else:
        data[len(frame.envelope.start) + {"signature": 7, "payload": 100}[at]] ^= 1

    with pytest.raises(FrameError, match="signature"):
        verify(parse(bytes(data)), private.public_key())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"first": 2}, "count"),
        ({"last": 5}, "count"),
        ({"first": 2, "last": 5}, "contiguity"),
        ({"pos": 4}, "contiguity"),
        ({"lane": 2}, "schema"),
        ({"fingerprint": "0" * 16}, "schema"),
        ({"coding": "arrow"}, "malformed"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"before": "1" * 64}, "chain"),
        ({"after": "1" * 64}, "chain"),
        ({"size": 4 * SIZE - 1}, "count"),
        ({"size": 5 * SIZE}, "count"),
    ],
)
def test_a_header_that_its_records_do_not_match_is_refused(
    decisions: Runs,
    framed: Callable[..., Frame],
    private: Ed25519PrivateKey,
    change: dict[str, Any],
    reason: str,
) -> None:
    frame = framed(decisions(4))

    assert refusal(signed(private, frame.header.model_copy(update=change), bytes(frame.envelope.payload))) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"last": limits.FRAME_RECORDS_MAX + 1}, "oversized"),
        ({"size": limits.FRAME_CANONICAL_BYTES_MAX + 1}, "oversized"),
        ({"first": 5}, "malformed"),
        ({"first": 0}, "malformed"),
        ({"site": "Site 1"}, "malformed"),
        ({"epoch": "x"}, "malformed"),
        ({"sha256": "0" * 63}, "malformed"),
        ({"last": 1 << 64}, "malformed"),
        ({"size": 1}, "malformed"),
        ({"coding": "parquet"}, "malformed"),
        ({"lane": 4}, "malformed"),
        ({"lane": "1"}, "malformed"),
        ({"pos": -1}, "malformed"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_header_out_of_bounds_is_refused_before_its_payload_is_read(
    decisions: Runs,
    framed: Callable[..., Frame],
    private: Ed25519PrivateKey,
    change: dict[str, Any],
    reason: str,
) -> None:
    frame = framed(decisions(4))

    with pytest.raises(FrameError) as refused:
        signed(private, frame.header.model_copy(update=change), b"")

    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.replace(b",", b", "),
        lambda text: text.replace(b'{"after"', b'{"after":"","after"'),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")).encode(),
        lambda text: text.replace(b'"lane"', b'"kind":1,"lane"'),
        lambda text: text[:-1],
        lambda text: b"[" + text + b"]",
        lambda text: text.replace(b"site-1", b"\xff"),
    ],
)
def test_a_header_has_one_spelling(
    decisions: Runs, framed: Callable[..., Frame], private: Ed25519PrivateKey, rewrite: Callable[[bytes], bytes]
) -> None:
    frame = framed(decisions(1))
    data = Envelope.seal(b"TGF1", rewrite(frame.envelope.header), b"", private.sign).data

    with pytest.raises(FrameError, match=r"^malformed: header: "):
        parse(data)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("seq", [1, 2, 4], "count"),
        ("seq", [1, 1, 3], "contiguity"),
        ("pos", [3, 3, 9], "contiguity"),
        ("pos", [3, 9, 6], "contiguity"),
        ("lane", [1, 1, 2], "malformed"),
        ("kind", [1, 1, 20], "malformed"),
        ("flags", [0, 1, 0], "malformed"),
        ("size", [0, 635, 635], "malformed"),
    ],
)
def test_records_that_are_no_run_become_no_frame_and_come_out_of_none(
    decisions: Runs,
    framed: Callable[..., Frame],
    private: Ed25519PrivateKey,
    signer: Signer,
    origin: Origin,
    field: str,
    value: list[int],
    reason: str,
) -> None:
    rows = np.frombuffer(decisions(3), DECISION).copy()
    rows[field] = value
    run, layout = rows.tobytes(), OF_LANE[Lane.DECISIONS]

    with pytest.raises(FrameError) as refused:
        encode(origin, run, CHAIN_START, signer, layout=layout)

    assert refused.value.reason == reason
    batch = layout.columns(memoryview(run), range(SIZE, 3 * SIZE + 1, SIZE))
    whole = framed(decisions(3)).header
    said = {"sha256": hashlib.sha256(run).hexdigest(), "coding": "batch"}
    said["after"] = lane_chain([run[at : at + SIZE] for at in range(0, len(run), SIZE)]).hex()
    bad = signed(private, whole.model_copy(update=said), zstandard.compress(batch.serialize()))
    assert refusal(bad) == ("contiguity" if reason == "count" else reason)


def test_an_older_schema_is_read_by_a_newer_program_and_its_bytes_stay_what_they_were(
    decisions: Runs, signer: Signer, origin: Origin
) -> None:
    today = np.frombuffer(decisions(5), DECISION)
    rows = np.zeros(5, OLDER)
    rows[list(OLDER.names or ())] = today[list(OLDER.names or ())]
    rows["size"] = OLDER.itemsize - 32
    older, run = Decisions(OLDER), rows.tobytes()
    frame = parse(encode(origin, run, CHAIN_START, signer, layout=older).data)

    assert refusal(frame) == "schema"
    out = records(frame, {older.fingerprint: older, **KNOWN})

    assert out.canonical == run
    assert out.header.after == lane_chain([rows[at].tobytes() for at in range(5)]).hex()
    for name in set(OLDER.names or ()) - {"size"}:
        assert out.decisions()[name].tobytes() == today[name].tobytes()
    assert out.decisions().dtype == DECISION
    assert {int(value) for name, _ in DECISION_FIELDS[-5:] for value in out.decisions()[name]} == {0}


def test_a_newer_schema_than_the_program_knows_is_refused_as_such(
    decisions: Runs, signer: Signer, origin: Origin
) -> None:
    newer = Decisions(np.dtype([*HEAD_FIELDS, *DECISION_FIELDS, ("more", "<u8")]))
    rows = np.zeros(2, newer.dtype)
    rows[list(DECISION.names or ())] = np.frombuffer(decisions(2), DECISION)
    rows["size"] = newer.dtype.itemsize - 32

    frame = encode(origin, rows.tobytes(), CHAIN_START, signer, layout=newer)

    assert refusal(parse(frame.data)) == "schema"


def stream(batch: Any, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _other_columns(batch: Any) -> bytes:
    return stream(batch.rename_columns([*batch.schema.names[:-1], "other"]))


def _two_batches(batch: Any) -> bytes:
    few = batch.slice(0, 10)
    return stream(few)[:-8] + bytes(few.serialize())


def _dictionary(batch: Any) -> bytes:
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * batch.num_rows), pa.array([b"x"]))
    return stream(batch.set_column(0, "seq", codes))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda batch: stream(batch, compression="zstd"), "malformed"),
        (lambda batch: stream(batch, compression="lz4"), "malformed"),
        (lambda batch: stream(batch) + b"\0" * 8, "malformed"),
        (lambda batch: stream(batch)[:200], "malformed"),
        (lambda batch: bytes(batch.serialize()), "malformed"),
        (lambda batch: stream(batch.slice(0, 299)), "count"),
        (_other_columns, "schema"),
        (_two_batches, "malformed"),
        (_dictionary, "malformed"),
        (lambda _: b"", "malformed"),
        (lambda _: bytes(64), "malformed"),
        (lambda batch: stream(batch.replace_schema_metadata({"x": "y" * 40_000})), "oversized"),
    ],
)
def test_a_payload_that_is_no_stream_of_one_plain_batch_is_refused(
    decisions: Runs,
    framed: Callable[..., Frame],
    private: Ed25519PrivateKey,
    make: Callable[[Any], bytes],
    reason: str,
) -> None:
    frame = framed(decisions(300), "arrow")
    (batch,) = pa.ipc.open_stream(inside(frame))

    assert refusal(signed(private, frame.header, zstandard.compress(make(batch)))) == reason


def test_a_missing_value_is_refused(decisions: Runs, framed: Callable[..., Frame], private: Ed25519PrivateKey) -> None:
    frame = framed(decisions(300), "arrow")
    (batch,) = pa.ipc.open_stream(inside(frame))
    holed = batch.set_column(3, batch.schema.field(3), pa.array([None, *[b"\1"] * 299], pa.binary(1)))

    assert refusal(signed(private, frame.header, zstandard.compress(stream(holed)))) == "malformed"


@pytest.mark.parametrize("lane", [Lane.DECISIONS, Lane.EVENTS])
def test_a_writer_whose_columns_can_hold_no_null_or_tell_no_metadata_is_understood(
    decisions: Runs, events: Runs, signer: Signer, origin: Origin, private: Ed25519PrivateKey, lane: Lane
) -> None:
    run, layout = (decisions if lane is Lane.DECISIONS else events)(3), OF_LANE[lane]
    frame = encode(origin, run, CHAIN_START, signer, layout=layout, coding="arrow")
    (batch,) = pa.ipc.open_stream(zstandard.decompress(frame.envelope.payload))
    for fields in (
        [field.with_nullable(False) for field in batch.schema],
        [pa.field(field.name, field.type) for field in batch.schema],
    ):
        made = pa.RecordBatch.from_arrays(batch.columns, schema=pa.schema(fields))
        one = signed(private, frame.header, zstandard.compress(stream(made)))

        assert records(parse(one.data)).canonical == run


def test_a_writer_that_says_of_each_value_that_it_is_there_is_understood(
    decisions: Runs, framed: Callable[..., Frame], private: Ed25519PrivateKey
) -> None:
    run = decisions(300)
    frame = framed(run, "arrow")
    (batch,) = pa.ipc.open_stream(inside(frame))
    there = pa.py_buffer(b"\xff" * 38)
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(column.type, 300, [there, column.buffers()[1]], 0)
        for column in batch.columns
    ]
    told = pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    assert records(signed(private, frame.header, zstandard.compress(stream(told)))).canonical == run


def _unsized(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def _lying(data: bytes) -> bytes:
    """Return a frame that says it holds less than it does: the size stands behind magic and descriptor."""
    made = zstandard.compress(data + bytes(1 << 20))
    assert made[4] & 0xE0 == 0xA0, "one segment, whose length has four bytes"
    return made[:5] + struct.pack("<I", 70_000) + made[9:]


@pytest.mark.parametrize(
    ("squeeze", "reason"),
    [
        (lambda data: zstandard.compress(data + bytes(1 << 24)), "oversized"),
        (_lying, "malformed"),
        (_unsized, "malformed"),
        (lambda data: zstandard.compress(data) + b"\0", "malformed"),
        (lambda data: zstandard.compress(data)[:-3], "malformed"),
        (lambda data: data, "malformed"),
    ],
)
def test_a_payload_never_takes_more_memory_than_its_records(
    decisions: Runs,
    framed: Callable[..., Frame],
    private: Ed25519PrivateKey,
    squeeze: Callable[[bytes], bytes],
    reason: str,
) -> None:
    frame = framed(decisions(256), "arrow")

    assert refusal(signed(private, frame.header, squeeze(inside(frame)))) == reason


def test_a_long_run_becomes_frames_that_join(decisions: Runs, signer: Signer, origin: Origin) -> None:
    """Random records don't compress: the bound on a frame's bytes cuts them long before that on their number."""
    run = decisions(5_000)
    frames = list(encode_all(origin, run, CHAIN_START, signer, layout=OF_LANE[Lane.DECISIONS]))

    out = [records(parse(frame.data)) for frame in frames]
    assert b"".join(one.canonical for one in out) == run
    assert [one.header.before for one in out] == [CHAIN_START.hex(), *(one.header.after for one in out[:-1])]
    assert max(len(frame.data) for frame in frames) <= limits.FRAME_BYTES_MAX
    assert min(one.header.count for one in out[:-1]) > 500


def test_a_record_too_large_for_a_frame_is_told(signer: Signer, origin: Origin) -> None:
    body = np.random.default_rng(1).bytes(limits.FRAME_BYTES_MAX)
    run = Record(Lane.EVENTS, Kind.EPOCH_STARTED, 1, 1, 1, body).to_bytes()

    with pytest.raises(FrameError, match=r"^oversized: "):
        list(encode_all(origin, run, CHAIN_START, signer, layout=OF_LANE[Lane.EVENTS]))


@pytest.mark.parametrize("run", [b"", bytes(SIZE - 1), bytes(31), bytes(33)])
@pytest.mark.parametrize("lane", [Lane.DECISIONS, Lane.EVENTS])
def test_what_is_no_whole_number_of_records_becomes_no_frame(
    signer: Signer, origin: Origin, run: bytes, lane: Lane
) -> None:
    with pytest.raises(FrameError, match=r"^malformed: "):
        encode(origin, run, CHAIN_START, signer, layout=OF_LANE[lane])
