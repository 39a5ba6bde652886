"""The way to the cloud by HTTP: for how long an answer is waited for, whatever comes of it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from actors.uplink import https
from actors.uplink.https import HttpsCarrier
from actors.uplink.ports import NoWayError

WITHIN_S = 0.3


@contextmanager
def trickling(begin: bytes, drop: bytes, every_s: float) -> Iterator[str]:
    """Serve one connection that answers with `begin`, and with a drop more and more, without end; give its address."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                try:
                    connection.sendall(begin)
                    while not over.wait(every_s):
                        connection.sendall(drop)
                except OSError:
                    return  # the other side has hung up, as it should

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
    ids=["status", "headers", "body", "chunks", "to-the-end"],
)
def test_an_answer_that_trickles_holds_it_no_longer_than_one_that_never_comes(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(https, "TIDE_TIMEOUT_S", WITHIN_S)
    with trickling(begin, drop, every_s=WITHIN_S / 30) as url:
        carrier, began = HttpsCarrier(url), time.monotonic()

        with pytest.raises(NoWayError, match=r"no whole answer|timed out"):
            carrier.post("/v1/frames", b"x", "text/plain")

        assert WITHIN_S / 2 < time.monotonic() - began < 10 * WITHIN_S


def test_what_was_left_of_one_answers_time_is_no_bound_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "TIDE_TIMEOUT_S", 60.0)
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"
    with trickling(whole, whole, every_s=0.05) as url:
        carrier = HttpsCarrier(url)

        assert [carrier.post("/", b"x", "text/plain").body for _ in range(3)] == [b"x"] * 3
        carrier.close()


@pytest.mark.parametrize("digits", ["1" + "0" * 309, "9" * 5_000])
def test_however_long_a_wait_is_asked_for_the_answer_is_read(digits: str) -> None:
    answer = f"HTTP/1.1 503 Later\r\nretry-after: {digits}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    with trickling(answer.encode(), b"", every_s=0.01) as url:
        reply = HttpsCarrier(url).post("/", b"x", "text/plain")

    assert (reply.status, reply.retry_after_s > 1e300) == (503, True)
