"""A site's signing key: Ed25519 (RFC 8032) in a PEM file that never leaves the site."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tidegate.errors import SettingsError
from tidegate.frames import Signer, key_id
from tidegate.ids import Entropy

_SEED_BYTES = 32


def new_key(entropy: Entropy) -> bytes:
    """Return a new private key as PEM (PKCS #8, RFC 8410)."""
    private = Ed25519PrivateKey.from_private_bytes(entropy(_SEED_BYTES))
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signer_of(pem: bytes, file: str) -> Signer:
    """Return what signs with the key of a PEM file.

    Raises:
        SettingsError: the file holds no such key.
    """
    private = _private(pem, file)
    return Signer(key_id(private.public_key()), private.sign)


def public_of(pem: bytes, file: str) -> bytes:
    """Return the 32 bytes of the public key.

    Raises:
        SettingsError: the file holds no such key.
    """
    return _private(pem, file).public_key().public_bytes_raw()


def _private(pem: bytes, file: str) -> Ed25519PrivateKey:
    try:
        private = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{file}: holds no private key as PEM; enrol the site anew") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{file}: holds a key of another kind, Ed25519 is needed; enrol the site anew")
    return private
