"""The payload: a record batch as Arrow IPC, compressed whole by zstd, and read again whatever bytes come.

Memory is bounded before anything is decompressed, by the length that the zstd frame names; buffers that Arrow would
decompress by itself are refused, since they may claim any length; nothing is read of a batch before Arrow has validated
it.
"""

import struct
from typing import Final

import pyarrow as pa
import zstandard

from tidegate.frames.headers import Coding
from tidegate.frames.refusal import FrameError
from tidegate.limits import FRAME_COLUMNS_BYTES_OVER, FRAME_METADATA_BYTES_MAX

_LEVEL: Final = 3  # python -m tests.bench.frames: levels below need 5 % more, those above several times as long
_WINDOW_BYTES_MAX: Final = 1 << 23
_MESSAGES: Final[dict[Coding, list[str]]] = {"arrow": ["schema", "record batch"], "batch": ["record batch"]}
_ARROW_ERRORS: Final = (pa.ArrowException, OSError, ValueError, MemoryError, EOFError)
_MESSAGE_HEADER, _BATCH_COMPRESSION = 2, 3  # fields of the tables Message and RecordBatch of Arrow's format


def compressed(batch: pa.RecordBatch, coding: Coding) -> bytes:
    """Return a record batch as a payload."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    if coding == "batch":
        return compressor.compress(batch.serialize())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return compressor.compress(sink.getvalue())


def compressed_text(text: bytes) -> bytes:
    """Return a text as a payload."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(text)


def read_text(payload: memoryview, bytes_max: int) -> bytes:
    """Return the text of a payload, of no more than `bytes_max` bytes.

    Raises:
        FrameError: malformed or oversized.
    """
    return _decompressed(payload, bytes_max)


def read(payload: memoryview, coding: Coding, schema: pa.Schema, size: int) -> pa.RecordBatch:
    """Return the record batch of a payload, validated; `size` is the length of its records' canonical bytes.

    Raises:
        FrameError: malformed, oversized, or schema.
    """
    data = _decompressed(payload, size + FRAME_COLUMNS_BYTES_OVER)
    try:
        return _batch(data, coding, schema)
    except _ARROW_ERRORS as error:
        raise FrameError("malformed", f"payload: no Arrow IPC as {coding!r} has it: {error}") from None


def _decompressed(payload: memoryview, bound: int) -> bytes:
    try:
        size = zstandard.get_frame_parameters(payload).content_size
        if size == zstandard.CONTENTSIZE_UNKNOWN:
            raise FrameError("malformed", "payload: the zstd frame must say how many bytes it holds")
        if size > bound:
            raise FrameError("oversized", f"payload: {size} bytes, compressed; at most {bound} here")
        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        return reader.decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameError("malformed", f"payload: not one zstd frame: {error}") from None


def _batch(data: bytes, coding: Coding, schema: pa.Schema) -> pa.RecordBatch:
    source = pa.BufferReader(data)
    messages = _messages(source, len(_MESSAGES[coding]))
    if [message.type for message in messages] != _MESSAGES[coding] or source.tell() != len(data):
        raise FrameError("malformed", f"payload: expected {' and '.join(_MESSAGES[coding])}, and nothing else")
    if coding == "arrow" and not _nullable(pa.ipc.read_schema(messages[0])).equals(schema):
        raise FrameError("schema", "payload: the stream's columns aren't those of the header's schema")
    if _compressed(messages[-1].metadata):
        raise FrameError("malformed", "payload: leave Arrow's own compression off: the payload is compressed whole")
    batch = pa.ipc.read_record_batch(messages[-1], schema)
    batch.validate(full=True)
    return batch


def _nullable(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose fields may be null: whether a writer says that of its own, changes nothing that is read."""
    return pa.schema([field.with_nullable(True) for field in schema])


def _messages(source: pa.BufferReader, wanted: int) -> list[pa.ipc.Message]:
    """Return at most one message more than are wanted."""
    reader = pa.ipc.MessageReader.open_stream(source)
    messages: list[pa.ipc.Message] = []
    for _ in range(wanted + 1):
        try:
            message = reader.read_next_message()
        except StopIteration:
            return messages
        if message.metadata.size > FRAME_METADATA_BYTES_MAX:
            told = f"payload: {message.metadata.size} bytes of metadata, more than {FRAME_METADATA_BYTES_MAX}"
            raise FrameError("oversized", told)
        messages.append(message)
    return messages


def _compressed(metadata: pa.Buffer) -> bool:
    """Tell whether a record batch message says that its buffers are compressed.

    The message is a FlatBuffer that Arrow has verified. Its Python interface doesn't tell, so two tables are followed.
    """
    data = memoryview(metadata)
    try:
        (root,) = struct.unpack_from("<I", data)
        header = _field(data, root, _MESSAGE_HEADER)
        (batch,) = struct.unpack_from("<I", data, header)
        return not header or bool(_field(data, header + batch, _BATCH_COMPRESSION))
    except struct.error:
        raise FrameError("malformed", "payload: the message's metadata lead nowhere") from None


def _field(data: memoryview, table: int, number: int) -> int:
    """Return where a field of a FlatBuffer's table stands, 0 where the table leaves it out."""
    (back,) = struct.unpack_from("<i", data, table)
    (size,) = struct.unpack_from("<H", data, table - back)
    entry = 4 + 2 * number
    (offset,) = struct.unpack_from("<H", data, table - back + entry) if entry < size else (0,)
    return table + offset if offset else 0
