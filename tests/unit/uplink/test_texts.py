"""Texts that records name: offered, sent part by part as the cloud wants them, in turns with frames."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from actors.uplink.disk import FolderTexts
from actors.uplink.key import new_key, signer_of
from actors.uplink.memory import MemoryTexts
from actors.uplink.ports import Reply
from actors.uplink.texts import Offers
from tests.unit.uplink.test_uplink import Site, reply
from tidegate.artifacts import ARTIFACTS_PATH, OFFER, ArtifactAnswer, Part
from tidegate.ids import SiteId
from tidegate.limits import ARTIFACT_AGAIN_US, ARTIFACT_HELD_US, ARTIFACT_PART_BYTES, SECOND_US
from tidegate.tide import FRAMES_PATH

SIGNER = signer_of(new_key(os.urandom), "key")
NOW_US = 1_795_000_000_000_000
TEXT = b"x" * (ARTIFACT_PART_BYTES * 2 + 1)


def name_of(text: bytes, kind: str = "l") -> str:
    return f"{kind}-{hashlib.sha256(text).hexdigest()[:12]}"


def offers(*texts: bytes) -> Offers:
    held = MemoryTexts()
    held.of = {name_of(text): text for text in texts}
    made = Offers(SiteId("s1"), held)
    made.look(NOW_US)
    return made


def sent(made: Offers, now_us: int = NOW_US) -> int | None:
    """Return the number of the part that is sent next."""
    part = made.next(SIGNER, now_us)
    return None if part is None else part.header.part


def test_a_text_is_offered_and_goes_as_the_cloud_wants_it() -> None:
    made = offers(TEXT)

    assert sent(made) == OFFER
    for wanted in (1, 2, 1, 2, 3):
        made.answered(ArtifactAnswer(next_part=wanted), NOW_US)
        assert sent(made) == wanted
    made.answered(ArtifactAnswer(), NOW_US)

    assert (sent(made), made.waiting, made.trouble) == (None, 0, "")


def test_what_the_cloud_has_is_offered_again_after_a_day() -> None:
    made = offers(b"a")
    sent(made)
    made.answered(ArtifactAnswer(), NOW_US)

    for later_us, waiting in ((ARTIFACT_AGAIN_US - 1, 0), (ARTIFACT_AGAIN_US, 1)):
        made.look(NOW_US + later_us)
        assert made.waiting == waiting


@pytest.mark.parametrize(
    ("answer", "told"),
    [(ArtifactAnswer(reason="sha256", message="no"), "sha256: no"), (ArtifactAnswer(next_part=9), "wants part 9")],
)
def test_what_isnt_wanted_is_told_and_makes_way_for_the_next(answer: ArtifactAnswer, told: str) -> None:
    made = offers(b"a", b"b")
    sent(made)

    made.answered(answer, NOW_US)

    assert told in made.trouble
    assert sent(made) == OFFER
    made.answered(ArtifactAnswer(), NOW_US)
    made.look(NOW_US + ARTIFACT_HELD_US)
    assert made.waiting == 1


def test_a_damaged_text_or_one_that_is_gone_is_never_sent() -> None:
    made = offers(b"a")
    made.texts.of |= {"l-000000000000": b"other", "x-000000000000": b"strange"}  # type: ignore[attr-defined]
    made.look(NOW_US)
    del made.texts.of[name_of(b"a")]  # type: ignore[attr-defined]

    assert sent(made) is None
    assert "isn't kept any more" in made.trouble


@pytest.mark.parametrize("parts", [0, 1])
def test_a_text_that_goes_away_while_it_is_sent_goes_up_whole_and_holds_nothing_up(parts: int) -> None:
    made = offers(TEXT)
    made.next(SIGNER, NOW_US)
    for number in range(1, parts + 1):
        made.answered(ArtifactAnswer(next_part=number), NOW_US)
    made.texts.of.clear()  # type: ignore[attr-defined]
    made.texts.of[name_of(b"a")] = b"a"  # type: ignore[attr-defined]

    made.look(NOW_US)

    assert sent(made) == parts
    made.answered(ArtifactAnswer(next_part=3), NOW_US)
    assert sent(made) == 3
    made.answered(ArtifactAnswer(), NOW_US)
    assert (sent(made), made.waiting, made.trouble) == (OFFER, 1, "")


def test_texts_and_frames_take_turns() -> None:
    site, texts = Site(), MemoryTexts()
    texts.of = {name_of(TEXT): TEXT}
    site.uplink.offer(texts)
    site.decide(3_000)
    site.connect()

    wanted = [reply(next_part=number) for number in (1, 2, 3)]
    for answer in wanted:
        site.line.answers += [answer, reply(**site.cursors())]
    for _ in range(6):
        site.uplink.step()
        site.clock.advance(SECOND_US)

    assert [path for path, _ in site.line.sent[1:]] == [ARTIFACTS_PATH, FRAMES_PATH] * 3
    assert [Part.parse(body).header.part for path, body in site.line.sent if path == ARTIFACTS_PATH] == [0, 1, 2]


@pytest.mark.parametrize("status", [404, 405])
def test_a_cloud_that_is_too_old_for_texts_gets_its_frames(status: int) -> None:
    site, texts = Site(), MemoryTexts()
    texts.of = {name_of(b"a"): b"a", name_of(b"b"): b"b"}
    site.uplink.offer(texts)
    site.decide(3)
    site.connect()
    site.line.answers.append(Reply(status, 0.0, json.dumps({"code": "NOT_FOUND", "detail": "no"}).encode()))

    for _ in range(2):
        site.uplink.step()

    assert [path for path, _ in site.line.sent[1:]] == [ARTIFACTS_PATH, FRAMES_PATH]
    assert site.uplink.standing.connected


def test_a_sites_folder_has_sets_of_lists_and_manifests(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "000000000007-l-0123456789ab.csv").write_bytes(b"list")
    (tmp_path / "orders" / "lists.json").write_bytes(b"{}")
    (tmp_path / "bundles" / "b-0123456789ab").mkdir(parents=True)
    (tmp_path / "bundles" / "b-0123456789ab" / "manifest.json").write_bytes(b"{}")
    texts = FolderTexts(tmp_path)

    assert sorted(texts.names()) == ["b-0123456789ab", "l-0123456789ab"]
    assert [texts.read(name) for name in sorted(texts.names())] == [b"{}", b"list"]
    assert texts.read("l-000000000000") is None
    assert FolderTexts(tmp_path / "nowhere").names() == ()
