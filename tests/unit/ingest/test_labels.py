"""Labels that are posted in the cloud: each is in the log once, and what is wrong is refused by field."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI

from serve_apps.ingest.desk import Desk, labels_router
from serve_apps.ingest.labels import COMMITTER, Labels
from serve_apps.ingest.memory import MemoryBook
from serve_apps.plumbing.stream.log import DELTAS
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.web import add_errors
from tests.sent import NOW_US
from tidegate.clock import ManualClock, rfc3339
from tidegate.deltas import Deltas, Label
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.limits import OCCURRED_AHEAD_US_MAX

POSTER, _POSTER = make_key("bank", frozenset({Scope.LABEL}), Random(1).randbytes)
SHOP, _SHOP = make_key("shop", frozenset({Scope.LABEL}), Random(2).randbytes, frozenset({"m-9"}))
READER, _READER = make_key("anna", frozenset({Scope.READ}), Random(3).randbytes)
KEYRING: Final = Keyring(KeyFile(keys=(_POSTER, _SHOP, _READER)))
GOOD: Final = {
    "label_id": "l-1",
    "merchant": "m-1",
    "transaction_id": "t-1",
    "verdict": "fraud",
    "source": "chargeback",
    "known_at": rfc3339(NOW_US),
}
Post = Callable[..., Awaitable[httpx.Response]]


class Cloud:
    """A log in memory, and a desk before it."""

    def __init__(self, book: MemoryBook | None = None) -> None:
        self.clock = ManualClock(NOW_US)
        self.stream, self.book = MemoryStream(self.clock), book or MemoryBook()
        self.stream.create(DELTAS, 1)
        self.labels = Labels(self.stream, self.book, self.clock)

    def run(self, test: Callable[[Post], Awaitable[None]]) -> None:
        async def started() -> None:
            desk, app = Desk(self.labels, self.clock), FastAPI()
            add_errors(app)
            app.include_router(labels_router(desk, KEYRING))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud") as client:

                async def post(body: Any, key: str = POSTER) -> httpx.Response:
                    content = body if isinstance(body, bytes) else json.dumps(body).encode()
                    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
                    return await client.post("/v1/labels", content=content, headers=headers)

                await test(post)
            desk.close()

        asyncio.run(started())

    def posted(self) -> list[tuple[Label, ...]]:
        reader = self.stream.reader()
        found = reader.read(DELTAS, 0, 0, messages_max=1_000, bytes_max=1 << 30)
        return [Deltas.from_bytes(stored.value).labels() for stored in found]


def test_a_label_is_in_the_log_as_it_was_said_and_when_it_was_taken() -> None:
    cloud = Cloud()

    async def test(post: Post) -> None:
        answer = await post(GOOD)
        told = {name: value for name, value in GOOD.items() if name != "known_at"}
        assert (answer.status_code, answer.json()) == (202, told | {"applied": False, "replayed": False})

    cloud.run(test)
    assert cloud.posted() == [(Label("l-1", "m-1", "t-1", "fraud", "chargeback", NOW_US, NOW_US),)]


def test_posted_again_it_is_answered_again_and_not_appended_even_by_the_next_one() -> None:
    cloud = Cloud()

    async def test(post: Post) -> None:
        assert (await post(GOOD)).json()["replayed"] is False

    async def again(post: Post) -> None:
        cloud.clock.advance(60_000_000)
        same = GOOD | {"known_at": rfc3339(NOW_US).replace("Z", "+00:00")}
        assert (await post(same)).json()["replayed"] is True

    cloud.run(test)
    cloud.labels = Labels(cloud.stream, cloud.book, cloud.clock)
    cloud.run(again)
    assert len(cloud.posted()) == 1


def test_another_body_under_an_id_is_refused_and_the_first_stands() -> None:
    cloud = Cloud()

    async def test(post: Post) -> None:
        await post(GOOD)
        answer = await post(GOOD | {"verdict": "legit"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "label_id")

    cloud.run(test)
    assert [label.verdict for batch in cloud.posted() for label in batch] == ["fraud"]


def test_what_comes_during_a_commit_shares_the_next_one_and_each_gets_its_own_answer() -> None:
    cloud = Cloud()

    async def test(post: Post) -> None:
        bodies = [GOOD | {"label_id": f"l-{number % 50}"} for number in range(100)] + [GOOD | {"source": "x"}]
        answers = await asyncio.gather(*map(post, [GOOD, *bodies]))
        assert [answer.status_code for answer in answers] == [202] * 101 + [422]
        assert sum(answer.json()["replayed"] for answer in answers[:-1]) == 101 - 50

    cloud.run(test)
    assert sum(map(len, cloud.posted())) == 50
    assert len(cloud.posted()) < 10


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"verdict": "perhaps"}, "verdict"),
        ({"colour": "blue"}, "colour"),
        ({"label_id": "l 1"}, "label_id"),
        ({"known_at": "yesterday"}, "known_at"),
        ({"known_at": rfc3339(NOW_US + OCCURRED_AHEAD_US_MAX + 1)}, "known_at"),
        ({"transaction_id": "4111111111111111"}, "transaction_id"),
    ],
)
def test_what_is_wrong_is_refused_by_field_and_changes_nothing(wrong: dict[str, str], field: str) -> None:
    cloud = Cloud()

    async def test(post: Post) -> None:
        answer = await post(GOOD | wrong)
        assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])

    cloud.run(test)
    assert cloud.posted() == []


def test_a_field_that_is_said_twice_is_refused() -> None:
    async def test(post: Post) -> None:
        body = json.dumps(GOOD).encode().replace(b'{"', b'{"verdict": "legit", "', 1)
        answer = await post(body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "verdict")

    Cloud().run(test)


@pytest.mark.parametrize(("key", "status"), [("tgk_nobody", 401), (READER, 403), (SHOP, 403)])
def test_nobody_labels_without_a_key_for_that_merchant(key: str, status: int) -> None:
    cloud = Cloud()

    async def test(post: Post) -> None:
        assert (await post(GOOD, key)).status_code == status

    cloud.run(test)
    assert cloud.posted() == []


def test_a_writer_that_is_over_is_opened_anew_and_who_posts_again_is_served() -> None:
    cloud = Cloud()

    async def test(post: Post) -> None:
        await post(GOOD)
        cloud.stream.writer(COMMITTER)  # another one takes over
        refused = await post(GOOD | {"label_id": "l-2"})
        assert (refused.status_code, "post the same again" in refused.json()["detail"]) == (503, True)
        assert (await post(GOOD | {"label_id": "l-2"})).json()["replayed"] is False

    cloud.run(test)
    assert [label.label_id for batch in cloud.posted() for label in batch] == ["l-1", "l-2"]


def test_a_label_of_which_nobody_knows_whether_it_was_noted_is_appended_again_under_its_id() -> None:
    class Forgetful(MemoryBook):
        """Dies before it notes anything."""

        def note(self, digests: Any) -> None:
            """Note nothing."""

    cloud = Cloud(Forgetful())

    async def test(post: Post) -> None:
        for _ in range(2):
            assert (await post(GOOD)).json()["replayed"] is False

    cloud.run(test)
    assert [label.label_id for batch in cloud.posted() for label in batch] == ["l-1", "l-1"]
