"""What every test shares: skips are failures in CI and are listed elsewhere; Hypothesis says how to repeat itself."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tidegate.bundle import Calibration, DataVersion, GateVerdict
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import DAY_US
from tidegate.policy.terms import Policy
from tidegate.settings import site_settings

if TYPE_CHECKING:
    from actors.gate.actor import GateActor

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets nothing that it starts in the background be interrupted, nor what that starts; some tests must.
    signal.signal(signal.SIGINT, signal.default_int_handler)

READY_S = 60
OWN_CLUSTERS = (
    "tests/e2e/test_documents.py",
    "tests/e2e/test_up.py",
    "tests/integration/test_bench.py",
    "tests/integration/test_cloud.py",
)
"""Each of them starts clusters of its own, as a newcomer does."""
SHARED_CLUSTER = (
    "tests/integration/test_backtest.py",
    "tests/integration/test_gate_restarts.py",
    "tests/integration/test_joined.py",
    "tests/integration/test_kill.py",
    "tests/integration/test_training_job.py",
    "tests/integration/test_uplink_restarts.py",
)
SERVED = "[serve"
"""Begins the parameters of a test whose door Ray Serve has: the same test with the gate's own door needs no Ray."""
NOW_US = 1_795_500_000_000_000  # 2026-11-24T06:00:00Z

settings.register_profile(
    "house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where CI=true: what isn't run there isn't known."""
    report = yield
    excused = hasattr(report, "wasxfail") or item.get_closest_marker("unshipped") is not None
    if report.skipped and os.environ.get("CI") == "true" and not excused:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI takes for a failure: {report.longrepr}"
    return report


class Halves(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Shares the suite between two processes, files whole: one begins with the tests that start clusters of their own.

    The other begins with those that share one. So no more than two clusters ever start at one time.
    """

    def _split_scope(self, nodeid: str) -> str:
        return cluster(nodeid) or nodeid.split("::", 1)[0]


def cluster(nodeid: str) -> str:
    """Tell whose Ray cluster a test needs; nothing: nobody's."""
    if nodeid.startswith(OWN_CLUSTERS):
        return "own cluster"
    return "shared cluster" if nodeid.startswith(SHARED_CLUSTER) or SERVED in nodeid else ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Halves:
    return Halves(config, log)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Begin with what takes longest: Ray, then what talks to processes, then the rest."""
    strays = [item.nodeid for item in items if "ray_cluster" in item.fixturenames and not cluster(item.nodeid)]
    if strays:
        raise pytest.UsageError(f"{strays} use Ray: name their files in tests/conftest.py")
    order = ("own cluster", "shared cluster", "")
    slow = ("tests/integration/", "tests/e2e/")
    items.sort(key=lambda item: (order.index(cluster(item.nodeid)), not item.nodeid.startswith(slow)))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: two processes must find the same names, and a person must be able to read them."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def bundle_files() -> dict[str, bytes]:
    """A small real bundle: an XGBoost model trained on random vectors, packaged as any other."""
    import xgboost as xgb  # noqa: PLC0415 - seconds of imports, for those who ask for a model

    from training.package import Judged, assemble  # noqa: PLC0415 - as above

    rng = np.random.default_rng(11)
    rows = (rng.normal(size=(4_000, FEATURE_COUNT)) * 1_000).astype(np.float32)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    target = (np.nan_to_num(rows[:, 0]) + rng.normal(size=len(rows)) * 300 > 1_200).astype(np.uint8)
    parameters: dict[str, float | int | str] = {
        "objective": "binary:logistic",
        "max_depth": 4,
        "base_score": 0.5,
        "nthread": 1,
        "seed": 1,
    }
    booster = xgb.train(parameters, xgb.DMatrix(rows, target), 20)
    return assemble(
        booster=booster,
        rows=rows,
        calibration=Calibration(margins=(-6.0, 0.0, 6.0), probabilities=(0.001, 0.3, 0.98)),
        data=DataVersion(source="random", first_us=0, cut_us=1, rows=4_000, frauds=int(target.sum()), sha256="0" * 64),
        metrics={},
        parameters=parameters,
        policy=Policy(),
        trained_at_us=NOW_US - DAY_US,
        seed=3,
        judged=Judged(gate=GateVerdict(passed=True, reasons=("it is a test's",))),
    )


@pytest.fixture(scope="session")
def now_us() -> int:
    """The moment at which tests without a wall clock take place."""
    return NOW_US


async def _opened(actor: "GateActor") -> int:
    port = await actor.start()
    async with asyncio.timeout(READY_S):
        while actor.status() is not None:  # noqa: ASYNC110 - the actor's state is asked for, as Ray would
            await asyncio.sleep(0.01)
    return port


@pytest.fixture(scope="session")
def open_gate() -> Iterator[Callable[[dict[str, Any], bytes], int]]:
    """Opens gates in this process, with the real door on a free port; returns the port once a gate decides."""
    from actors.gate.actor import GateActor  # noqa: PLC0415 - a server's imports, for those who open one

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    actors: list[GateActor] = []

    def open_one(layer: dict[str, Any], keys: bytes) -> int:
        made = site_settings([{"door": {"port": 0}}, layer], names="test").model_dump_json()
        actors.append(GateActor(made, "edge_nodes.http.app:build", keys))
        return asyncio.run_coroutine_threadsafe(_opened(actors[-1]), loop).result(READY_S)

    yield open_one
    for actor in actors:
        asyncio.run_coroutine_threadsafe(actor.stop(), loop).result(READY_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
