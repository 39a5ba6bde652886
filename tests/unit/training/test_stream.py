"""What a stream sends and tells: ids that fit their columns, and a report that makes nothing up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.limits import TRANSACTION_ID_BYTES_MAX
from tidegate.payment import LabelRequest, PaymentRequest
from training.client import AddressError, Answer, Door
from training.stream import tagged
from training.tally import Tally, lines, refusals

TAG = ".r19a5f3c2b1d"


def test_an_id_keeps_its_whole_name_where_the_tag_fits() -> None:
    assert tagged("o-1", TAG, 64) == f"o-1{TAG}"
    assert tagged("o" * (64 - len(TAG)), TAG, 64) == "o" * (64 - len(TAG)) + TAG


@given(st.text("ab1.", min_size=51, max_size=64), st.text("ab1.", min_size=51, max_size=64))
def test_long_ids_stay_apart_and_within_their_column(one: str, other: str) -> None:
    made = tagged(one, TAG, TRANSACTION_ID_BYTES_MAX)

    assert len(made) <= TRANSACTION_ID_BYTES_MAX
    assert made.endswith(TAG)
    assert made == tagged(one, TAG, TRANSACTION_ID_BYTES_MAX)
    assert (made == tagged(other, TAG, TRANSACTION_ID_BYTES_MAX)) == (one == other)


def test_what_is_tagged_is_still_an_id_of_a_payment_and_of_its_label() -> None:
    for number in range(2_000):
        one = tagged(f"order-{number}-" + "x" * 50, TAG, 64)
        body = {"transaction_id": one, "occurred_at": "2026-11-24T09:30:00Z", "card": "c", "terminal": "t"}
        body |= {"merchant": "m", "channel": "moto"}
        PaymentRequest.model_validate_json(json.dumps(body | {"amount": {"minor": 1, "currency": "EUR"}}))
        label = {"label_id": tagged(one, ".0", 64), "merchant": "m", "transaction_id": one, "verdict": "fraud"}
        LabelRequest.model_validate_json(json.dumps(label | {"source": "s", "known_at": "2026-11-24T09:30:00Z"}))


def test_a_report_of_nothing_decided_has_no_latency_and_says_why() -> None:
    tally = Tally()
    for _ in range(3):
        tally.decided(Answer(401, {"code": "UNAUTHENTICATED"}, 10), fraud=False)

    report = tally.report(1.0)

    assert (report["p50_ms"], report["p99_ms"]) == (None, None)
    assert dict(lines(report))["latency"] == "nothing was decided"
    assert refusals(report) == "UNAUTHENTICATED 3"


@pytest.mark.parametrize("url", ["not-a-host", "127.0.0.1:8410", "ftp://x", "http://", "http://a b", "http:///v1", ""])
def test_what_is_no_address_is_told_with_one_that_is(url: str) -> None:
    with pytest.raises(AddressError, match=r"looks like http://127\.0\.0\.1:8410$"):
        Door(url=url, key="k", connections=1, now_ns=lambda: 0)
