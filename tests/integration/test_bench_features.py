"""The bench of features measures what it says: every engine at a tiny size, and the script of Redis counts right."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.features import ENGINES, SCRIPT, _fields, a_redis, measured, plot
from tests.servers import redis_server

needs_redis = pytest.mark.skipif(
    redis_server.PROGRAM is None, reason=f"no redis-server; to run it: {redis_server.ENABLE}"
)
START_S = 20_416 * 86_400


@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=needs_redis if name.startswith("redis") else ()) for name in ENGINES]
)
def test_an_engine_tells_its_cost_and_its_bytes(engine: str) -> None:
    told = measured(engine, cards=300, calls=60)

    assert set(told) == {"p50_us", "p99_us", "mean_us", "card_bytes"}
    assert 0 < told["p50_us"] <= told["p99_us"]
    assert told["card_bytes"] >= 0


@needs_redis
def test_the_script_counts_as_a_feature_store_should_and_is_filled_with_what_it_would_have_left() -> None:
    payments = [(START_S + 60, 100), (START_S + 120, 50), (START_S + 3 * 3_600, 30), (START_S + 8 * 86_400, 7)]
    with a_redis() as client:
        script = client.register_script(SCRIPT)
        said = [script(["f:1"], [second, amount]) for second, amount in payments]
        left: dict[Any, Any] = client.hgetall("f:1")

    n, s = (said[-1][at::2] for at in (0, 1))
    assert n[:4] == [1, 1, 1, 4]
    assert s[:4] == [7, 7, 7, 187]
    assert said[2][:8] == [1, 30, 3, 180, 3, 180, 3, 180]
    assert (said[0][8:], said[3][8:]) == ([0, 0], [60, 8 * 86_400 - 3 * 3_600])
    wanted = list(map(str, _fields(iter(payments))))
    assert {key.decode(): value.decode() for key, value in left.items()} == dict(
        zip(wanted[::2], wanted[1::2], strict=True)
    )


def test_the_picture_is_the_same_for_the_same_numbers(tmp_path: Path) -> None:
    row = {"p50_us": 3.0, "p99_us": 4.0, "mean_us": 3.1, "card_bytes": 1_000}
    table = {"kernel": {"10": row, "100": row}}
    for name in ("a.svg", "b.svg"):
        plot(table, tmp_path / name)

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"python -m tests.bench.features" in (tmp_path / "a.svg").read_bytes()
