"""The composition root: a cluster that doesn't come up is tried again, whatever Ray raised, and not for ever."""

import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edge_nodes import node
from tidegate.errors import TemporaryError


class FakeRay(SimpleNamespace):
    """Ray's two calls, of which the first fails as often as it was told to."""

    def __init__(self, failures: int) -> None:
        super().__init__(failures=failures, begun=0, ended=0)

    def init(self, **_given: Any) -> Any:
        self.begun += 1
        if self.begun <= self.failures:
            raise Exception("The current node timed out during startup")  # noqa: TRY002 - as Ray does
        return SimpleNamespace(address_info={"gcs_address": "127.0.0.2:1"})

    def shutdown(self) -> None:
        self.ended += 1


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def ray_that_fails(monkeypatch: pytest.MonkeyPatch, times: int) -> FakeRay:
    ray = FakeRay(times)
    monkeypatch.setitem(sys.modules, "ray", ray)
    private = SimpleNamespace(parameter=SimpleNamespace(RayParams=object))
    monkeypatch.setitem(sys.modules, "ray._private", private)
    return ray


def test_a_node_that_times_out_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = ray_that_fails(monkeypatch, 2)

    assert node.start_ray("folder")[0] == "127.0.0.2:1"
    assert (ray.begun, ray.ended) == (3, 2)


def test_a_node_that_never_comes_up_is_given_up_with_what_ray_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = ray_that_fails(monkeypatch, 99)

    with pytest.raises(TemporaryError, match="timed out during startup"):
        node.start_ray("folder")
    assert (ray.begun, ray.ended) == (3, 3)
