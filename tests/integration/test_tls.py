"""HTTPS between the tiers: the uplink's carrier takes the cloud's certificate, and no other's, with what it says."""

import http.server
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from actors.uplink.https import HttpsCarrier
from actors.uplink.ports import NoWayError
from serve_apps.plumbing.authority import Files, certificates
from tidegate.clock import ManualClock, SystemClock
from tidegate.errors import SettingsError
from tidegate.limits import DAY_US

Serving = Callable[[Files], str]
ANSWER: Final = b'{"credit_bytes":0}'


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each body alike."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


class Plain(socketserver.BaseRequestHandler):
    """Speaks first, and in clear."""

    def handle(self) -> None:
        """Send what is no TLS."""
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class Server(http.server.ThreadingHTTPServer):
    """Takes a refused handshake quietly: the client tells of it."""

    def handle_error(self, *_args: Any) -> None:
        """Say nothing."""


@contextmanager
def running(server: Server) -> Iterator[None]:
    """Serve for as long as the block lasts, however it ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def listening(files: Files, host: str = "127.0.0.1", *, trusted: str | None = None) -> Iterator[str]:
    """Serve HTTPS on a free port, where `trusted` is given for clients that it vouches for; return its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server)
    if trusted is not None:
        context.load_verify_locations(trusted)
        context.verify_mode = ssl.CERT_REQUIRED
    with Server((host, 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with running(server):
            yield f"https://{host}:{server.server_address[1]}"


@pytest.fixture
def serving() -> Iterator[Serving]:
    with ExitStack() as stack:
        yield lambda files: stack.enter_context(listening(files))


def post(url: str, authority: Path | None) -> bytes:
    carrier = HttpsCarrier(url, authority=str(authority) if authority else None)
    try:
        return carrier.post("/v1/frames", b"x" * 100_000, "text/plain").body
    finally:
        carrier.close()


def test_the_clouds_own_authority_is_enough(tmp_path: Path, serving: Serving) -> None:
    files = certificates(tmp_path, [], SystemClock())

    assert post(serving(files), files.authority) == ANSWER


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, serving: Serving) -> None:
    own, foreign = (certificates(tmp_path / name, [], SystemClock()) for name in ("own", "foreign"))
    url = serving(foreign)

    with pytest.raises(NoWayError, match="certificate verify failed"):
        post(url, own.authority)
    with pytest.raises(NoWayError, match="certificate verify failed"):
        post(url, None)  # by the system's authorities, which know none of this


def test_an_expired_certificate_is_refused(tmp_path: Path, serving: Serving) -> None:
    before = ManualClock(SystemClock().now_us() - 100 * DAY_US)
    files = certificates(tmp_path, [], before)

    with pytest.raises(NoWayError, match="certificate has expired"):
        post(serving(files), files.authority)


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    files = certificates(tmp_path, [], SystemClock())

    with listening(files, "127.0.0.2") as url, pytest.raises(NoWayError, match="IP address mismatch"):
        post(url, files.authority)


def test_who_doesnt_speak_tls_is_refused(tmp_path: Path) -> None:
    files = certificates(tmp_path, [], SystemClock())
    with Server(("127.0.0.1", 0), Plain) as server, running(server), pytest.raises(NoWayError, match=r"(?i)ssl"):
        post(f"https://127.0.0.1:{server.server_address[1]}", files.authority)


def client_certificate(folder: Path) -> tuple[str, str]:
    """Make a certificate that a site may show, vouched for by itself; return its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    files = folder / "client.pem", folder / "client.key"
    files[0].write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(files[0]), str(files[1])


def test_a_server_may_ask_for_the_sites_certificate(tmp_path: Path) -> None:
    files, client = certificates(tmp_path / "tls", [], SystemClock()), client_certificate(tmp_path)
    with listening(files, trusted=client[0]) as url:
        carrier = HttpsCarrier(url, authority=str(files.authority), client=client)
        assert carrier.post("/v1/frames", b"x", "text/plain").body == ANSWER
        carrier.close()
        with pytest.raises(NoWayError, match=r"127\.0\.0\.1:\d+: "):  # by which of its words, is a race of TLS 1.3's
            post(url, files.authority)


def test_an_authority_that_cant_be_read_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a certificate can't be read"):
        HttpsCarrier("https://cloud.example", authority=str(tmp_path / "none.pem"))
