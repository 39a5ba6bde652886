"""An authority of one's own, for a cloud that has no certificate from elsewhere: a demo's, or a private network's.

It is made once. Its server's certificate lives a quarter, and is made anew when a third of that is left, so whoever
starts it now and then never sees one end. Real certificates are files that the configuration names instead. Each file
is replaced whole, key and certificate in one, so that nobody ever finds one without the other.
"""

import contextlib
import ipaddress
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tidegate.clock import Clock, SystemClock
from tidegate.errors import SettingsError
from tidegate.limits import AUTHORITY_DAYS, AUTHORITY_EARLY_MINUTES, CERTIFICATE_DAYS, SECOND_US

LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_AUTHORITY: Final = "authority.pem"
_AUTHORITY_KEY: Final = "authority.key.pem"
_SERVER: Final = "server.pem"
_OTHERS: Final = 0o077
_READABLE: Final = 0o644
_PRIVATE: Final = 0o600
_LEFT: Final = 3
"""What is left when another is made: one part of so many."""


class Files(NamedTuple):
    """What a server and its callers are told to use."""

    authority: Path
    """PEM, for callers: who vouches for the server."""
    server: Path
    """PEM, for the server alone: its key and its certificate."""


class _Pair(NamedTuple):
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """Both, as one file."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + self.certificate.public_bytes(Encoding.PEM)

    @classmethod
    def of(cls, pem: bytes, path: Path) -> Self:
        """Return what a file holds.

        Raises:
            SettingsError: it is no such file.
        """
        told = f"{path}: it isn't what was written there; move it away, and it is made anew"
        try:
            key, certificate = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise SettingsError(told) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise SettingsError(told)
        return cls(key, certificate)


def certificates(folder: Path, names: Sequence[str], clock: Clock) -> Files:
    """Return the files of an authority and of a server that is called by `names`, hosts or IP addresses, or locally.

    What is missing is made; what will end soon, has other names or another authority is made anew.

    Raises:
        SettingsError: a file there is another's, or others may read a key.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.fromtimestamp(clock.now_us() // SECOND_US, UTC)
    files = Files(folder / _AUTHORITY, folder / _SERVER)
    authority = _authority(folder / _AUTHORITY_KEY, now)
    public = authority.certificate.public_bytes(Encoding.PEM)
    if not files.authority.exists() or files.authority.read_bytes() != public:
        _replace(files.authority, public, _READABLE)
    wanted = _names((*LOCAL, *names))
    held = _read(files.server)
    if held is None or not _serves(held.certificate, authority.certificate, wanted, now):
        _replace(files.server, _server(authority, wanted, now).pem, _PRIVATE)
    return files


def _authority(path: Path, now: datetime) -> _Pair:
    """Return the authority; its key stays when its certificate is made anew, so that callers need no other at once."""
    held = _read(path)
    if held is None:
        _put(path, _self_signed(ec.generate_private_key(ec.SECP256R1()), now).pem)
        held = _read(path)  # another process may have been quicker
    if held is None:
        raise SettingsError(f"{path}: it was taken away while it was made; start again")
    if _ends_soon(held.certificate, now):
        held = _self_signed(held.key, now)
        _replace(path, held.pem, _PRIVATE)
    return held


def _ends_soon(certificate: x509.Certificate, now: datetime) -> bool:
    ends = certificate.not_valid_after_utc
    return now < certificate.not_valid_before_utc or ends - now < (ends - certificate.not_valid_before_utc) / _LEFT


def _serves(
    certificate: x509.Certificate, authority: x509.Certificate, names: set[x509.GeneralName], now: datetime
) -> bool:
    """Tell whether a server's certificate may go on being used."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, InvalidSignature):
        return False
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names <= set(held) and not _ends_soon(certificate, now)


def _names(names: Sequence[str]) -> set[x509.GeneralName]:
    return {_name(name) for name in names}


def _name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise SettingsError(
            f"name {name!r}: it is no host's; an IP address or letters, digits, dashes, dots"
        ) from error


def _begun(subject: str, public: ec.EllipticCurvePublicKey, now: datetime, days: int) -> x509.CertificateBuilder:
    """Begin a certificate, valid from a little before now on: clocks differ."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=AUTHORITY_EARLY_MINUTES))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> _Pair:
    made = _begun("Tidegate's own authority", key.public_key(), now, AUTHORITY_DAYS)
    made = made.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tidegate's own authority")]))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(_usage(signs_certificates=True), critical=True)
    return _Pair(key, made.sign(key, hashes.SHA256()))


def _server(authority: _Pair, names: set[x509.GeneralName], now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    own = authority.certificate
    identifier = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    made = _begun("Tidegate", key.public_key(), now, CERTIFICATE_DAYS).issuer_name(own.subject)
    made = made.add_extension(x509.SubjectAlternativeName(sorted(names, key=str)), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(_usage(signs_certificates=False), critical=True)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    made = made.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return _Pair(key, made.sign(authority.key, hashes.SHA256()))


# Files.


def _read(path: Path) -> _Pair | None:
    if not path.exists():
        return None
    if path.stat().st_mode & _OTHERS:
        raise SettingsError(f"{path}: others may read this key; move it away, and another is made")
    return _Pair.of(path.read_bytes(), path)


def _written(path: Path, data: bytes, mode: int) -> Path:
    """Write a file beside another's place, durably; private from the start."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(data)
        os.fchmod(handle, mode)
        file.flush()
        os.fsync(handle)
    return Path(name)


def _replace(path: Path, data: bytes, mode: int) -> None:
    _written(path, data, mode).replace(path)
    _sync(path.parent)


def _put(path: Path, data: bytes) -> None:
    """Put a private file where there is none; where another was quicker, its file stays."""
    beside = _written(path, data, _PRIVATE)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
    finally:
        beside.unlink()
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main() -> None:
    """Make what is missing in the folder that is named, for the names that follow; print the two files, a line each."""
    try:
        files = certificates(Path(sys.argv[1]), sys.argv[2:], SystemClock())
    except SettingsError as error:
        sys.exit(error.message)
    sys.stdout.write(f"{files.authority}\n{files.server}\n")


if __name__ == "__main__":
    main()
