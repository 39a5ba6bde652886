"""Reasons over real HTTP: an explanation that adds up, a replay that proves it, one catalogue, and who may see what."""

import http.client
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes.http.app import StoredAnswer
from edge_nodes.http.reasons import CatalogueAnswer, ReplayAnswer
from tidegate.keys import KeyFile, Scope, dump_keys, make_key


@dataclass(frozen=True)
class Door:
    """A site's door, a key to all of it, and one of a single merchant."""

    port: int
    key: str
    merchant_key: str

    def ask(self, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """Send one request and return status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        response = connection.getresponse()
        told = json.load(response)
        connection.close()
        return response.status, told

    def decided(self, transaction_id: str, merchant: str = "m-1") -> str:
        """Decide a payment and return the decision's id."""
        body = {
            "transaction_id": transaction_id,
            "occurred_at": datetime.now(UTC).isoformat(),
            "amount": {"minor": 1_250, "currency": "EUR"},
            "card": "card-1",
            "terminal": "t-1",
            "merchant": merchant,
            "channel": "card_present",
        }
        status, told = self.ask("/v1/decisions", body)
        assert status == 200, told
        return str(told["decision_id"])


@pytest.fixture(scope="module")
def door(
    tmp_path_factory: pytest.TempPathFactory,
    bundle_files: dict[str, bytes],
    open_gate: Callable[[dict[str, Any], bytes], int],
) -> Door:
    folder = tmp_path_factory.mktemp("reasons") / "quay"
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))
    layer = {"site": "quay", "data_dir": str(folder), "machine_mark": str(folder.parent / "mark")}
    key, stored = make_key("all", frozenset(Scope), os.urandom)
    merchant_key, other = make_key("shop", frozenset({Scope.DECIDE, Scope.READ}), os.urandom, frozenset({"m-7"}))
    return Door(open_gate(layer, dump_keys(KeyFile(keys=(stored, other)))), key, merchant_key)


def test_a_decision_is_explained_and_adds_up(door: Door) -> None:
    path = f"/v1/decisions/{door.decided('explain-1')}"

    _, told = door.ask(f"{path}?explain=true&top=38")

    why = told["explanation"]
    assert (told["unexplained"], why["sums_to_margin"], len(why["features"])) == (None, True, 38)
    total = why["base"] + sum(feature["contribution"] for feature in why["features"])
    assert abs(total - why["margin"]) < 1e-4
    assert door.ask(f"{path}?explain=true&top=38") == (200, told)
    assert "explanation" not in door.ask(path)[1]
    assert door.ask(f"{path}?explain=perhaps")[0] == 422
    assert door.ask(f"{path}?explain=true&top=0")[1]["errors"][0]["field"] == "top"


def test_a_key_of_one_merchant_is_told_no_value_of_what_a_card_did(door: Door) -> None:
    made = door.decided("explain-2", "m-7")

    _, told = door.ask(f"/v1/decisions/{made}?explain=true", key=door.merchant_key)

    why = told["explanation"]
    assert {feature["value"] for feature in why["features"]} <= {None}
    assert (why["base"], why["margin"], told["rule_hits"]) == (None, None, [])


def test_a_decision_is_replayed_from_what_was_stored_to_the_bit(door: Door) -> None:
    made = door.decided("check-1")

    assert door.ask(f"/v1/decisions/{made}/replay") == (200, {"equal": True, "differences": []})
    assert door.ask(f"/v1/decisions/{made}999999/replay")[0] == 404
    assert door.ask(f"/v1/decisions/{made}/replay", key=door.merchant_key)[0] == 404


def test_the_catalogue_of_reasons_is_open_to_who_may_read_or_decide(door: Door) -> None:
    _, told = door.ask("/v1/reasons")
    codes = {reason["code"] for reason in told["data"]}
    assert codes >= {"MODEL_DECLINE", "LIST_SOFT_BLOCK", "SYS_CLOCK"}
    assert set(told["payer"]) == {"approve", "challenge", "review", "decline"}
    for key, status in ((door.key, 200), (door.merchant_key, 200), ("tgk_wrong", 401)):
        assert door.ask("/v1/reasons", key=key)[0] == status


def test_what_reasons_answer_is_what_the_openapi_document_says_of_it(door: Door) -> None:
    made = door.decided("schema-1")
    for path, model in (("?explain=true", StoredAnswer), ("", StoredAnswer), ("/replay", ReplayAnswer)):
        model.model_validate(door.ask(f"/v1/decisions/{made}{path}")[1])
    CatalogueAnswer.model_validate(door.ask("/v1/reasons")[1])
