"""Runs of records and the key of a site."""

from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.frames import OF_LANE, Coding, Frame, Origin, Signer, encode, key_id
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import CHAIN_START, DECISION, DECISION_BODY_BYTES, HEAD_FIELDS, Kind, Lane, Record, event_body

ORIGIN = Origin(SiteId("site-1"), GateId("g0"), EpochId("0123456789abcdef"))


@pytest.fixture(scope="session")
def private() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def signer(private: Ed25519PrivateKey) -> Signer:
    return Signer(key_id(private.public_key()), private.sign)


@pytest.fixture(scope="session")
def origin() -> Origin:
    return ORIGIN


def _decisions(count: int, first: int = 1, seed: int = 1) -> bytes:
    """Return so many decisions of any content under true heads: every pattern of bits has to survive."""
    rows = np.frombuffer(np.random.default_rng(seed).bytes(count * DECISION.itemsize), DECISION).copy()
    for name, dtype in HEAD_FIELDS[2:]:
        rows[name] = {"lane": Lane.DECISIONS, "kind": Kind.DECISION, "size": DECISION_BODY_BYTES}.get(
            name, np.arange(count, dtype=dtype)
        )
    rows["flags"] = 0
    rows["seq"] = first + np.arange(count)
    rows["pos"] = 3 * (first + np.arange(count))
    return rows.tobytes()


@pytest.fixture(scope="session")
def decisions() -> Callable[..., bytes]:
    return _decisions


@pytest.fixture(scope="session")
def events() -> Callable[..., bytes]:
    def make(count: int, first: int = 1) -> bytes:
        return b"".join(
            Record(Lane.EVENTS, Kind.LABEL_RECEIVED, n, n + 7, n * 1_000, event_body({"n": "é" * n})).to_bytes()
            for n in range(first, first + count)
        )

    return make


@pytest.fixture(scope="session")
def framed(signer: Signer) -> Callable[..., Frame]:
    """Returns decisions as a frame."""

    def make(canonical: bytes, coding: Coding | None = None) -> Frame:
        return encode(ORIGIN, canonical, CHAIN_START, signer, layout=OF_LANE[Lane.DECISIONS], coding=coding)

    return make
