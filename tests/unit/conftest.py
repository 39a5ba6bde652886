"""Unit tests touch neither Ray nor the network: both raise."""

import socket
from typing import Any

import pytest
import ray


def _refuse(*_args: Any, **_kwargs: Any) -> None:
    raise AssertionError("a unit test must not use Ray or the network: move it to tests/integration")


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", _refuse)
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.setattr(socket.socket, "bind", _refuse)
