"""What events say to others than their gate: one check for who lets them in and who reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.archive.archive import rows_of
from serve_apps.plumbing.stream.log import topic_of
from tests.sent import NOW_US, event, events_frame, label
from tidegate.events import check
from tidegate.limits import JSON_DEPTH_MAX, RECORD_BODY_BYTES_MAX
from tidegate.records import Kind, Lane, event_body, json_of

_LISTS = b'{"as_of_us":1,"by":"","changed_us":0,"entries":1,"lists":"l-0123456789ab","version":2,"why":""}'
_POLICY = b'{"as_of_us":1,"by":"x","policy":"p-0123456789ab","terms":{"rate":0.25},"why":""}'
_LABEL = label(1).body
_KINDS = {Kind.LABEL_RECEIVED: _LABEL, Kind.LISTS_ACTIVATED: _LISTS, Kind.POLICY_ACTIVATED: _POLICY}
_UNKNOWN = 238
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", _KINDS)
def test_what_a_kind_says_is_taken(kind: Kind) -> None:
    check(kind, _KINDS[kind])


def test_a_kind_of_a_newer_site_is_taken_whatever_it_says() -> None:
    check(_UNKNOWN, b'{"new":[1,{"as":"it is"}]}')


def test_a_label_may_say_more_than_this_program_knows() -> None:
    check(Kind.LABEL_RECEIVED, event_body({**json_of(_LABEL), "zone": 1}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b'{"a": 1}',
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\u00e9"}',
        b'{"a":"\\ud800"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b"[" * 100_000,
        b"[" * (JSON_DEPTH_MAX + 1) + b"]" * (JSON_DEPTH_MAX + 1),
        b'"' + b"x" * RECORD_BODY_BYTES_MAX + b'"',
    ],
    ids=range(15),
)
def test_what_is_no_canonical_json_is_refused_of_every_kind(body: bytes) -> None:
    for kind in (*_KINDS, Kind.CARD_EVICTED, _UNKNOWN):
        with pytest.raises(ValueError, match=r"JSON|UTF-8|utf-8|Expecting|body|surrogates|digits"):
            check(kind, body)


def test_what_is_nested_as_deep_as_it_may_be_is_taken() -> None:
    check(_UNKNOWN, b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *((kind, body) for kind in _KINDS for body in (b"[]", b"1", b"null")),
        (Kind.LABEL_RECEIVED, b"{}"),
        (Kind.POLICY_ACTIVATED, b"{}"),
        (Kind.LABEL_RECEIVED, event_body({**json_of(_LABEL), "merchant": 1})),
        (Kind.LABEL_RECEIVED, event_body({**json_of(_LABEL), "known_us": 1 << 63})),
        (Kind.LABEL_RECEIVED, event_body({**json_of(_LABEL), "known_us": "1"})),
        (Kind.LISTS_ACTIVATED, event_body({**json_of(_LISTS), "version": 1 << 63})),
        (Kind.LISTS_ACTIVATED, event_body({**json_of(_LISTS), "as_of_us": 1 << 63})),
        (Kind.LISTS_ACTIVATED, event_body({**json_of(_LISTS), "lists": "the newest"})),
        (Kind.POLICY_ACTIVATED, event_body({**json_of(_POLICY), "terms": []})),
    ],
)
def test_a_record_that_doesnt_say_what_its_kind_says_is_refused(kind: Kind, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"LabelReceived|Activation"):
        check(kind, body)


@given(
    st.sampled_from([*Kind][1:]),
    st.dictionaries(st.sampled_from([*json_of(_LABEL), *json_of(_LISTS), *json_of(_POLICY)]), _JSON) | _JSON,
    st.booleans(),
)
def test_what_is_let_in_is_read_by_the_archive(kind: Kind, told: object, whole: bool) -> None:  # noqa: FBT001
    values = {**json_of(_KINDS.get(kind, b"{}")), **told} if whole and isinstance(told, dict) else told
    try:
        body = event_body(values)  # type: ignore[arg-type]
        check(kind, body)
    except ValueError:
        return
    frame = events_frame(event(kind, 1, {})._replace(body=body))

    assert rows_of(frame, topic_of(Lane.EVENTS), NOW_US)["events"].num_rows == 1
