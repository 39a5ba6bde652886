"""Texts at the ingest: nothing of one is in the log before the whole is proven; each is there once, whoever sent it."""

from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serve_apps.ingest.committer import Committer
from serve_apps.ingest.intake import UnwantedError, admit_part
from serve_apps.ingest.memory import MemoryKeys
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.staging import Proven, Staging
from serve_apps.plumbing.stream.log import ARTIFACTS
from serve_apps.plumbing.stream.memory import Fault, MemoryStream
from tidegate.artifacts import OFFER, Kind, Part, Whole
from tidegate.clock import ManualClock
from tidegate.errors import TemporaryError
from tidegate.frames import FrameError, Signer, key_id
from tidegate.frames.envelope import Envelope
from tidegate.ids import SiteId
from tidegate.limits import ARTIFACT_PART_BYTES, LOG_COMMIT_BYTES_MAX, TIDE_CUT_US

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Signer(key_id(KEY.public_key()), KEY.sign)
TEXT = b"list,entity,value,expires_at,rule\n" + b"watch,card,card-1,,\n" * 9_000


def parts(text: bytes = TEXT, kind: Kind = "lists", site: str = "site-1") -> list[Part]:
    whole = Whole(kind, text)
    return [whole.part(number, SiteId(site), SIGNER) for number in range(1, whole.parts + 1)]


def proven(text: bytes = TEXT, site: str = "site-1") -> Proven:
    staging = Staging()
    taken = [staging.take(part) for part in parts(text, site=site)]
    assert isinstance(taken[-1], Proven)
    return taken[-1]


@dataclass
class Log:
    """A log that may fail as it is told to."""

    faults: list[Fault | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = ManualClock(TIDE_CUT_US)
        self.stream = MemoryStream(self.clock, lambda _: self.faults.pop(0) if self.faults else None)
        self.stream.create(ARTIFACTS, 1)

    def committer(self) -> Committer:
        return Committer(self.stream, "c0", self.clock)

    def held(self) -> list[bytes]:
        found = self.stream.reader().read(ARTIFACTS, 0, 0, messages_max=10_000, bytes_max=1 << 30)
        return [stored.value for stored in found]


def test_parts_are_taken_in_order_and_the_last_one_proves_the_whole() -> None:
    staging, (first, second, third) = Staging(), parts()
    offer = Whole("lists", TEXT).part(OFFER, SiteId("site-1"), SIGNER)

    assert [staging.take(part) for part in (offer, third, first, first, third, offer, second)] == [1, 1, 2, 2, 2, 2, 3]
    taken = staging.take(third)
    assert isinstance(taken, Proven)
    assert taken[:2] == (first.header.sha256, tuple(part.data for part in (first, second, third)))
    assert staging.take(offer) == 1


def test_a_text_that_isnt_what_its_digest_names_is_refused_and_forgotten() -> None:
    staging, first, false = Staging(), *parts()[:1], parts(TEXT[:-2] + b"!\n")
    lied = [Part(part.header.model_copy(update={"sha256": first.header.sha256}), part.envelope) for part in false]

    assert [staging.take(part) for part in lied[:2]] == [2, 3]
    with pytest.raises(FrameError, match="isn't the one whose digest"):
        staging.take(lied[2])
    assert staging.take(lied[1]) == 1


def test_a_text_that_is_longer_or_shorter_than_it_says_is_refused() -> None:
    staging, (only,) = Staging(), parts(b"abc")

    for size in (2, 4):
        header = only.header.model_copy(update={"size": size})
        with pytest.raises(FrameError) as refused:
            staging.take(Part(header, only.envelope))
        assert refused.value.reason in {"count", "oversized"}


def test_what_is_no_manifest_never_reaches_the_log() -> None:
    with pytest.raises(FrameError, match="no manifest"):
        Staging().take(parts(b"{}", "bundle")[0])
    assert isinstance(Staging().take(parts(b'{"trained_at_us":1}', "bundle")[0]), Proven)


def test_where_there_is_no_room_the_idlest_begin_anew() -> None:
    sites = {name: parts(site=name) for name in ("s1", "s2", "s3")}
    staging = Staging(bytes_max=2 * len(sites["s1"][0].data) + 64)

    for name in ("s1", "s2", "s1", "s3"):
        staging.take(sites[name][0])

    assert [staging.take(sites[name][1]) for name in ("s2", "s1")] == [1, 3]


def test_who_signs_a_part_must_be_known() -> None:
    (part,) = parts(b"abc")
    mine = SiteKey(SIGNER.key, "site-1", KEY.public_key().public_bytes_raw(), 0)

    assert admit_part(part.data, MemoryKeys(mine)).header == part.header
    with pytest.raises(UnwantedError):
        admit_part(part.data, MemoryKeys())
    forged = Envelope.seal(b"TGA1", part.header.canonical(), bytes(part.envelope.payload), lambda _: bytes(64))
    with pytest.raises(FrameError, match="isn't signed"):
        admit_part(forged.data, MemoryKeys(mine))


def test_a_text_is_in_the_log_once_whoever_sends_it_again() -> None:
    log = Log()

    assert log.committer().keep(proven())
    assert log.committer().keep(proven(site="site-2"))

    assert log.held() == [part.data for part in parts()]


def test_a_text_of_many_commits_goes_on_where_a_committer_died() -> None:
    text = bytes(range(33, 97)) * (ARTIFACT_PART_BYTES // 64) * 9
    whole = Proven("ab" * 32, tuple(part.data.ljust(LOG_COMMIT_BYTES_MAX // 10, b"=") for part in parts(text)))
    log = Log([None, *Fault])

    done, committer = False, log.committer()
    while not done:
        try:
            done = committer.keep(whole)
        except TemporaryError:
            committer = log.committer()

    assert log.held() == list(whole.parts)
    assert committer.has("ab" * 32)
    assert not committer.has("cd" * 32)


def large(count: int, cut: str) -> Proven:
    """Return a text of which a commit takes four parts."""
    parts = [b"%s%d" % (cut.encode(), at) for at in range(count)]
    return Proven("ab" * 32, tuple(part.ljust(LOG_COMMIT_BYTES_MAX // 9, b"=") for part in parts), cut)


@pytest.mark.parametrize("count", [9, 10])
def test_of_two_cuts_of_one_text_the_first_is_committed_and_the_other_waits_for_it(count: int) -> None:
    """Whatever the order in which they are tried; parts of two cuts don't mix either where they are as many."""
    log, first, other = Log(), large(9, "a"), large(count, "b")
    committer = log.committer()

    assert not committer.keep(first)
    for _ in range(2):
        with pytest.raises(TemporaryError, match="cut otherwise"):
            committer.keep(other)
        done = committer.keep(first)

    assert done
    assert committer.keep(other)
    assert log.held() == list(first.parts)


@pytest.mark.parametrize("again", [True, False], ids=["restarted", "waited"])
def test_a_cut_that_nobody_goes_on_with_gives_way(again: bool) -> None:  # noqa: FBT001 - a parameter of the test
    log, other = Log(), large(10, "b")
    committer = log.committer()
    committer.keep(large(9, "a"))
    log.clock.advance(0 if again else TIDE_CUT_US)
    committer = log.committer() if again else committer

    while not committer.keep(other):
        pass

    assert log.held()[4:] == list(other.parts)
