"""The stream against a real socket: what a door receives, in which order, and what a broken one does to it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from aiohttp import web

from tidegate.clock import ManualClock, rfc3339
from tidegate.limits import DAY_US
from tidegate.payment import LabelRequest, PaymentRequest
from training.client import Door
from training.stream import Item, Stream, at_rate, at_speed, generated
from training.synth import SynthConfig

NOW_US = 20_700 * DAY_US
CONFIG = SynthConfig(cards=300, terminals=60)
Step = Callable[["Site"], web.Response | None]


class Site:
    """A door that writes down what it gets; `steps` say what happens to the first decisions instead of an answer."""

    def __init__(self, steps: list[Step] | None = None) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.labels: list[dict[str, Any]] = []
        self.order: list[str] = []
        self.keys: set[str] = set()
        self.connections: set[object] = set()
        self.steps = steps or []

    async def decide(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.decisions.append(body)
        self.keys.add(request.headers["authorization"])
        self.connections.add(request.transport)
        if self.steps:
            answer = self.steps.pop(0)(self)
            if answer is not None:
                return answer
            assert request.transport is not None
            request.transport.close()
        self.order.append(body["transaction_id"])
        return web.json_response({"outcome": "decline" if body["amount"]["minor"] > 20_000 else "approve"})

    async def label(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.labels.append(body)
        self.order.append(body["label_id"])
        return web.json_response({})


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.post("/v1/decisions", site.decide), web.post("/v1/labels", site.label)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def _sent(site: Site, items: Iterator[Item], *, connections: int = 4, tag: str = "") -> Stream:
    async with (
        serving(site) as url,
        Door(url=url, key="k1", connections=connections, now_ns=lambda: 0) as door,
    ):
        clock = ManualClock(NOW_US) if tag else None
        stream = Stream(door=door, clock=clock, pace=at_rate(0), connections=connections, tag=tag)
        await stream.run(items, None)
        return stream


def _send(site: Site, items: Iterator[Item], *, connections: int = 4, tag: str = "") -> Stream:
    return asyncio.run(_sent(site, items, connections=connections, tag=tag))


def _items(count: int) -> Iterator[Item]:
    return islice(generated(CONFIG, CONFIG.start_us), count)


def test_each_payment_is_sent_once_as_the_door_wants_it() -> None:
    site = Site()

    stream = _send(site, _items(500))

    assert stream.total.sent == len(site.decisions) == 500
    assert len({PaymentRequest.model_validate(body).transaction_id for body in site.decisions}) == 500
    assert sum(stream.total.outcomes.values()) == 500
    assert site.keys == {"Bearer k1"}


def test_connections_are_kept_and_bounded() -> None:
    site = Site()

    _send(site, _items(300), connections=3)

    assert 1 <= len(site.connections) <= 3


def test_a_503_is_tried_again_under_the_same_id_and_counted_once() -> None:
    site = Site([lambda _: web.Response(status=503, headers={"Retry-After": "0"})] * 3)

    stream = _send(site, _items(1))

    assert [body == site.decisions[0] for body in site.decisions] == [True] * 4
    assert (stream.total.sent, dict(stream.total.errors)) == (1, {})


def test_a_lost_connection_is_tried_again_under_the_same_id() -> None:
    site = Site([lambda _: None, lambda _: None])

    stream = _send(site, _items(1), tag=".r1")

    assert len({body["transaction_id"] for body in site.decisions}) == 1
    assert len(site.decisions) == 3
    assert (stream.total.sent, dict(stream.total.errors)) == (1, {})


def test_a_refusal_is_counted_by_its_code_and_not_tried_again() -> None:
    site = Site([lambda _: web.json_response({"code": "INVALID_REQUEST"}, status=422)])

    stream = _send(site, _items(1))

    assert len(site.decisions) == 1
    assert stream.total.errors == {"INVALID_REQUEST": 1}


def test_a_door_that_stays_shut_ends_in_an_error_and_not_in_a_loop() -> None:
    async def run() -> int:
        async with Door(url="http://127.0.0.1:9", key="k", connections=1, now_ns=lambda: 0, delay_s=0.0) as door:
            return (await door.decide({})).status

    assert asyncio.run(run()) == 0


def test_labels_follow_their_payments_when_the_stream_reaches_their_time() -> None:
    site = Site()

    _send(site, _items(6_000))

    labels = [LabelRequest.model_validate(body) for body in site.labels]
    assert len(labels) > 20
    assert all(site.order.index(one.transaction_id) < site.order.index(one.label_id) for one in labels)
    last = max(body["occurred_at"] for body in site.decisions)
    assert all(body["known_at"] <= last for body in site.labels)


def test_with_a_tag_payments_take_place_now_and_have_ids_of_their_own() -> None:
    site = Site()

    _send(site, _items(20), tag=".r5")

    assert {body["occurred_at"] for body in site.decisions} == {rfc3339(NOW_US)}
    assert all(body["transaction_id"].endswith(".r5") for body in site.decisions)


def test_truth_gives_recall_and_precision() -> None:
    site = Site()
    body = next(_items(1)).body
    items = [
        Item(n, body | {"transaction_id": f"x{n}", "amount": {"minor": minor, "currency": "EUR"}}, fraud, ())
        for n, (minor, fraud) in enumerate([(30_000, True), (10, True), (30_000, False), (10, False)])
    ]

    report = _send(site, iter(items)).total.report(2.0)

    assert (report["recall"], report["precision"], report["decisions_per_s"]) == (0.5, 0.5, 2.0)


def test_a_pace_is_a_rate_or_a_speed_and_zero_waits_for_nothing() -> None:
    assert at_rate(50)(100, 7) == 2.0
    assert at_speed(10)(100, 5_000_000) == 0.5
    assert at_rate(0)(100, 7) == at_speed(0)(100, 7) == 0.0


def test_the_command_sends_for_some_seconds_and_ends_with_a_report(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k1\n")
    site = Site()

    async def run() -> tuple[int | None, bytes]:
        async with serving(site) as url:
            command = [sys.executable, "-m", "training.stream", "--url", url, "--key-file", str(key), "--rate", "100"]
            options = ["--seconds", "1.5", "--cards", "200", "--stats", "json"]
            process = await asyncio.create_subprocess_exec(*command, *options, stdout=asyncio.subprocess.PIPE)
            output, _ = await asyncio.wait_for(process.communicate(), 60)
            return process.returncode, output

    code, output = asyncio.run(run())
    lines = [json.loads(line) for line in output.splitlines()]

    assert code == 0
    assert lines[-1]["report"]["sent"] == len(site.decisions) == 150
    assert sum(line["sent"] for line in lines[:-1]) == 150
