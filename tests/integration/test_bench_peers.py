"""Each peer of the gate's bench starts, answers as it should and leaves nothing; its features are the gate's own."""

import asyncio
import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.window.window import Window
from edge_nodes import reaper
from tests.bench.contenders import Setting, contenders, environment, unavailable
from tests.bench.rules import full_lists, twenty_rules
from tests.bench.scoring import ROUTE
from tests.bench.stored import Stored
from tests.servers import redis_server
from tidegate.clock import rfc3339
from tidegate.payment import PaymentRequest
from tidegate.policy.grammar import parse
from tidegate.policy.oracle import Oracle
from tidegate.records import FEATURE_SLOTS

PEERS = ("fastapi_xgb", "fastapi_redis_xgb", "bentoml")
needs_redis = pytest.mark.skipif(
    redis_server.PROGRAM is None, reason=f"no redis-server; to run it: {redis_server.ENABLE}"
)


def payment(number: int, **other: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"tx-{number}",
        "occurred_at": rfc3339(time.time_ns() // 1000),
        "amount": {"minor": 1_250 + number, "currency": "EUR"},
        "card": f"card-{number % 3}",
        "terminal": f"t-{number % 2}",
        "merchant": "m-1",
        "channel": "card_present",
    } | other


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_decides_a_payment_and_leaves_no_process(
    name: str, tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    if why := unavailable(name):
        pytest.skip(why)
    model, mark = tmp_path / "model.ubj", secrets.token_hex(8)
    model.write_bytes(bundle_files["model.ubj"])
    setting = Setting(folder=tmp_path, model=model, environment=environment(mark), say=lambda _: None)
    body = json.dumps(payment(1)).encode()
    with contenders([name], setting) as running:
        url = f"http://127.0.0.1:{running[name].port}{ROUTE}"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
            assert answer.headers["content-length"]

    assert told["transaction_id"] == "tx-1"
    assert told["outcome"] in {"approve", "challenge", "review", "decline"}
    assert reaper.members(mark, {}) == {}


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Time that stands still, so that both sides see the same."""
    now_ns = time.time_ns()
    with monkeypatch.context() as patch:
        patch.setattr("tests.bench.stored.time.time_ns", lambda: now_ns)
        yield now_ns // 1000


@needs_redis
def test_features_kept_in_redis_are_bit_equal_to_the_gates_also_where_payments_of_a_card_overlap(
    tmp_path: Path, frozen: int
) -> None:
    window = Window(cards_max=16, terminals_max=4)
    requests = [PaymentRequest.model_validate(payment(number)) for number in range(24)]
    expected = []
    for one in requests:
        vector = window.observe(
            card=one.card,
            terminal=one.terminal,
            now_us=frozen,
            feature_us=min(one.occurred_us, frozen),
            amount_minor=one.amount.minor,
        )
        expected.append(vector.copy())

    async def ask(socket: str, *, at_once: bool) -> list[Any]:
        stored = Stored(lambda _: 0.0, socket)
        try:
            if at_once:
                return list(await asyncio.gather(*map(stored.observe, requests)))
            return [await stored.observe(one) for one in requests]
        finally:
            await stored.close()

    with redis_server.redis_server(tmp_path) as server:
        got = asyncio.run(ask(server.socket, at_once=False))
    assert np.array(got, np.float32).tobytes() == np.array(expected, np.float32).tobytes()
    assert got[0].shape == (FEATURE_SLOTS,)

    with redis_server.redis_server(tmp_path) as server, redis_server.client(server) as client:
        asyncio.run(ask(server.socket, at_once=True))
        versions = {str(key): int.from_bytes(client.get(key)[:8], "little") for key in client.scan_iter()}
    assert sorted(versions.values()) == [8, 8, 8, 12, 12]


def test_the_benchs_rules_are_twenty_that_compile_and_its_lists_hold_three_thousand() -> None:
    rules = twenty_rules().rules

    assert len({rule.id for rule in rules}) == 20
    assert [parse(rule.when) for rule in rules]
    assert Oracle([rule.when for rule in rules])
    assert full_lists().entries == 3_000
