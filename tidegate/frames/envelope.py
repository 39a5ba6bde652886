"""The envelope of frames and heads: magic, a JSON header, an Ed25519 signature, a payload.

4 bytes   magic, `TGF1` or `TGH1`
4 bytes   length of the header, unsigned, little endian
header    canonical JSON: UTF-8, sorted keys, no blanks
64 bytes  Ed25519 signature (RFC 8032) of magic, length, header and the SHA-256 of the payload
payload   to the end
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tidegate.frames.refusal import FrameError
from tidegate.limits import FRAME_BYTES_MAX, FRAME_HEADER_BYTES_MAX

Sign = Callable[[bytes], bytes]
"""Returns the Ed25519 signature of bytes: `Ed25519PrivateKey.sign`, or a device that keeps the key."""

_LENGTH: Final = struct.Struct("<I")
_MAGIC_BYTES: Final = 4
_START: Final = _MAGIC_BYTES + _LENGTH.size
_SIGNATURE_BYTES: Final = 64
KEY_ID_HEX: Final = 16
ENVELOPE_BYTES_MIN: Final = _START + _SIGNATURE_BYTES
"""Nothing shorter is one."""


def public_key(raw: bytes) -> Ed25519PublicKey:
    """Return the key of 32 bytes (RFC 8032).

    Raises:
        ValueError: they are no 32 bytes.
    """
    return Ed25519PublicKey.from_public_bytes(raw)


def key_id(public: Ed25519PublicKey) -> str:
    """Return what names a key: the first 16 hex digits of the SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:KEY_ID_HEX]


class Envelope(NamedTuple):
    """An envelope's parts; `start` is magic, length and header."""

    start: bytes
    signature: bytes
    payload: memoryview

    @property
    def header(self) -> bytes:
        """The header's JSON."""
        return self.start[_START:]

    @property
    def signed(self) -> bytes:
        """What the signature is of."""
        return self.start + hashlib.sha256(self.payload).digest()

    @property
    def data(self) -> bytes:
        """The whole envelope, as it goes over the wire."""
        return b"".join((self.start, self.signature, self.payload))

    @property
    def size(self) -> int:
        """Length of `data`, which needn't be made for it."""
        return sum(map(len, self))

    @classmethod
    def seal(cls, magic: bytes, header: bytes, payload: bytes, sign: Sign) -> Self:
        """Return header and payload, signed.

        Raises:
            FrameError: oversized.
        """
        unsigned = cls(magic + _LENGTH.pack(len(header)) + header, bytes(_SIGNATURE_BYTES), memoryview(payload))
        _bounded(len(header), unsigned.size)
        return unsigned._replace(signature=sign(unsigned.signed))

    @classmethod
    def open(cls, magic: bytes, data: bytes | memoryview) -> Self:
        """Return the parts of an envelope; whether the signature is true says `verify`.

        Raises:
            FrameError: malformed, or oversized.
        """
        view = memoryview(data)
        if len(view) < _START or view[:_MAGIC_BYTES] != magic:
            raise FrameError("malformed", f"it doesn't begin with {magic.decode()} and a length")
        (length,) = _LENGTH.unpack_from(view, _MAGIC_BYTES)
        _bounded(length, len(view))
        stop = _START + length
        if len(view) < stop + _SIGNATURE_BYTES:
            raise FrameError("malformed", f"{len(view)} bytes are cut short: the header alone has {length}")
        signed = stop + _SIGNATURE_BYTES
        return cls(bytes(view[:stop]), bytes(view[stop:signed]), view[signed:])

    def verify(self, public: Ed25519PublicKey) -> None:
        """Refuse what wasn't signed by this key.

        Raises:
            FrameError: signature.
        """
        try:
            public.verify(self.signature, self.signed)
        except InvalidSignature:
            raise FrameError("signature", f"it isn't signed by the key {key_id(public)}") from None


def _bounded(header: int, whole: int) -> None:
    if header > FRAME_HEADER_BYTES_MAX:
        raise FrameError("oversized", f"the header has {header} bytes, more than {FRAME_HEADER_BYTES_MAX}")
    if whole > FRAME_BYTES_MAX:
        raise FrameError("oversized", f"{whole} bytes, more than {FRAME_BYTES_MAX}: send fewer records at a time")
