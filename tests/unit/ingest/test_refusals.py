"""Refusals: told by site, key and reason, whatever was refused; written once a second, however much comes."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer
from serve_apps.ingest.intake import UnwantedError
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import Refusal, SiteKey
from serve_apps.ingest.refusals import Refusals
from serve_apps.plumbing.stream.memory import MemoryStream
from tests.sent import NOW_US, PUBLIC, SIGNER, decisions_frame
from tidegate.artifacts import OFFER, Whole
from tidegate.clock import ManualClock
from tidegate.frames import Head, LaneHead, SignedHead, packed
from tidegate.ids import SiteId
from tidegate.limits import TIDE_REFUSALS_HELD_MAX, TIDE_REFUSALS_WRITTEN_US

OTHER = "site-9.g0.0123456789abcdef"


def backend(*keys: SiteKey, quarantine: MemoryQuarantine) -> Backend:
    clock = ManualClock(NOW_US)
    committers = [Committer(MemoryStream(clock), "c0", clock)]
    return Backend(keys=MemoryKeys(*keys), quarantine=quarantine, committers=committers, clock=clock)


def head() -> bytes:
    said = {"gate": "g0", "durable_pos": 1, "time_us": NOW_US, "versions": {}}
    heads = {1: LaneHead(seq=1, chain="")}
    told = Head.model_validate({"site": "site-1", "epoch": "0" * 16, "key": SIGNER.key, "heads": heads} | said)
    return SignedHead.seal(told, SIGNER.sign).data


def told(refused: list[Refusal]) -> set[tuple[str, str, str, int, bool]]:
    return {(each.site, each.key, each.reason, each.times, each.vouched) for each in refused}


def test_frames_heads_and_texts_of_a_revoked_key_are_told_by_their_site_and_key_for_good() -> None:
    quarantine = MemoryQuarantine()
    cloud = backend(SiteKey(SIGNER.key, "site-1", PUBLIC, 0, NOW_US, "stolen", "ann"), quarantine=quarantine)
    offer = Whole("lists", b"list").part(OFFER, SiteId("site-1"), SIGNER)

    asyncio.run(cloud.frames(packed([decisions_frame(1, 3), decisions_frame(4, 3), decisions_frame(1, 3, OTHER)])))
    with pytest.raises(UnwantedError):
        asyncio.run(cloud.head(head()))
    asyncio.run(cloud.text(offer.data))

    revoked = ("site-1", SIGNER.key, "revoked_key", 4, True)
    foreign = ("site-9", SIGNER.key, "other_site", 1, False)
    assert told(asyncio.run(cloud.refused(items=9, site=None))) == {revoked, foreign}
    assert told(asyncio.run(cloud.refused(items=9, site="site-9"))) == {foreign}
    cloud.close()
    assert told(quarantine.refusals(items=9)) == {revoked, foreign}


def test_a_key_that_nobody_enrolled_and_a_signature_that_isnt_the_keys_are_told_too() -> None:
    quarantine, other = MemoryQuarantine(), Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    unknown = backend(quarantine=quarantine)
    forged = backend(SiteKey(SIGNER.key, "site-1", other.public_bytes_raw(), 0), quarantine=quarantine)

    for cloud in (unknown, forged):
        asyncio.run(cloud.frames(packed([decisions_frame(1, 3)])))
        cloud.close()

    assert {(each.reason, each.vouched) for each in quarantine.refusals(items=9)} == {
        ("unknown_key", False),
        ("signature", True),
    }


def test_what_comes_within_a_second_is_written_once_and_nothing_is_forgotten() -> None:
    quarantine, clock = MemoryQuarantine(), ManualClock(NOW_US)
    refusals = Refusals(quarantine, clock)
    one = Refusal("s1", "f" * 16, "revoked_key", 1, NOW_US, NOW_US, vouched=True)

    refusals.note([one])
    refusals.note([one, one])
    assert quarantine.refusals(items=9) == [one]
    clock.advance(TIDE_REFUSALS_WRITTEN_US)
    refusals.note([one])
    assert quarantine.refusals(items=9) == [one._replace(times=4)]

    refusals.note([one._replace(site=f"x{number}", vouched=False) for number in range(TIDE_REFUSALS_HELD_MAX + 1)])
    assert len(quarantine.refusals(items=1 << 20)) == TIDE_REFUSALS_HELD_MAX + 2
