"""A site's way to the cloud: bytes pass as they are until it is cut, and again once it is restored."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_nodes.cli import app
from edge_nodes.wan import order, relayed
from tidegate.errors import NotFoundError, SettingsError
from tidegate.limits import RELAY_CONNECTIONS_MAX

WAIT_S = 10


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says everything again, and nothing more once the caller has ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    made, _ = server.accept()
                    threading.Thread(target=said_again, args=(made,)).start()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def said_again(made: socket.socket) -> None:
    with made, contextlib.suppress(OSError):
        while data := made.recv(65_536):
            made.sendall(data)


@pytest.fixture
def ways(echo: int, tmp_path: Path) -> Iterator[dict[str, int]]:
    """The relays of two sites."""
    with relayed(["s1", "s2"], "127.0.0.1", echo, tmp_path / "run") as ports:
        yield ports


def dialled(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def passes(port: int, data: bytes = b"hello") -> bool:
    """Send something, end, and tell whether all of it came back."""
    with contextlib.suppress(ConnectionError), dialled(port) as made:
        thread = threading.Thread(target=said_and_ended, args=(made, data))
        thread.start()
        try:
            with made.makefile("rb") as back:
                return back.read() == data
        finally:
            thread.join()
    return False


def said_and_ended(made: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        made.sendall(data)
        made.shutdown(socket.SHUT_WR)


def told(*words: str) -> str:
    done = CliRunner().invoke(app, ["wan", *words])
    return done.output if done.exception is None else str(done.exception)


def test_bytes_pass_as_they_are_and_an_end_of_one_side_is_told_to_the_other(ways: dict[str, int]) -> None:
    assert passes(ways["s1"], os.urandom(3_000_000))


def test_a_cut_ends_what_is_open_and_takes_nothing_until_it_is_restored_and_leaves_the_other_site_alone(
    ways: dict[str, int], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with dialled(ways["s1"]) as open_before:
        open_before.sendall(b"x")
        assert open_before.recv(1) == b"x"
        assert told("cut", "s1", "--run-dir", str(folder)).split()[:2] == ["s1", "cut"]
        with contextlib.suppress(ConnectionError):
            assert open_before.recv(1) == b""

    assert not passes(ways["s1"])
    assert passes(ways["s2"])
    assert order(folder, {"do": "status"})["s1"]["cut"]

    assert told("restore", "s1", "--run-dir", str(folder)).split()[:2] == ["s1", "open,"]
    assert passes(ways["s1"])
    assert [line.split()[:2] for line in told("status", "--run-dir", str(folder)).splitlines()] == [
        ["s1", "open,"],
        ["s2", "open,"],
    ]


def test_more_connections_than_a_site_needs_are_turned_away(ways: dict[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(RELAY_CONNECTIONS_MAX):
            made = stack.enter_context(dialled(ways["s1"]))
            made.sendall(b"x")
            assert made.recv(1) == b"x"

        assert not passes(ways["s1"])


def test_a_cloud_that_is_not_there_ends_the_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with relayed(["s1"], "127.0.0.1", port, tmp_path / "run") as ports:
        assert not passes(ports["s1"])


@pytest.mark.parametrize(
    "said", [b"cut s1\n", b'{"do": "explode"}\n', b'["cut"]\n', b'{"do": "cut", "site": 5}\n', b"x" * 10_000 + b"\n"]
)
def test_an_order_that_is_none_is_told_so_and_changes_nothing(
    ways: dict[str, int], tmp_path: Path, said: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        made.settimeout(WAIT_S)
        made.connect(os.path.relpath(tmp_path / "run" / "wan.sock"))
        made.sendall(said)
        assert b"error" in made.makefile("rb").readline()

    assert passes(ways["s1"])


def test_who_asks_for_a_site_or_a_run_that_is_not_there_is_told_which_are(ways: dict[str, int], tmp_path: Path) -> None:
    assert ways
    assert told("cut", "s3", "--run-dir", str(tmp_path / "run")) == "s3: no such site runs here; there are s1, s2"
    with pytest.raises(NotFoundError, match="no `tidegate up` with a cloud runs in"):
        order(tmp_path, {"do": "status"})


def test_one_run_has_a_folder_and_what_a_killed_one_left_there_is_replaced(
    ways: dict[str, int], echo: int, tmp_path: Path
) -> None:
    assert ways
    with pytest.raises(SettingsError, match="another `tidegate up` runs in"), contextlib.ExitStack() as stack:
        stack.enter_context(relayed(["s9"], "127.0.0.1", echo, tmp_path / "run"))
    left = tmp_path / "left"
    left.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.path.relpath(left / "wan.sock"))

    with relayed(["s9"], "127.0.0.1", echo, left) as ports:
        assert passes(ports["s9"])
        assert list(order(left, {"do": "status"})) == ["s9"]
    assert not (left / "wan.sock").exists()


def test_a_folder_that_others_may_reach_is_refused(echo: int, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)

    with (
        pytest.raises(SettingsError, match="chmod 700"),
        relayed(["s1"], "127.0.0.1", echo, tmp_path / "open"),
    ):
        pass
