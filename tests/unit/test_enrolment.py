"""What an enrolment and a rotation sign: as the document says, and good for nothing else."""

import re
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tidegate.enrolment import (
    digest,
    enrolment,
    enrolment_words,
    fault_of,
    new_token,
    rotation,
    rotation_words,
    signed,
)
from tidegate.frames import Signer, key_id

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "identity.md"
TOKEN: Final = "tgt_" + "0" * 64
OLD, NEW = (Ed25519PrivateKey.from_private_bytes(bytes(range(first, first + 32))) for first in (0, 32))
PRIME: Final = (1 << 255) - 19


def signer(private: Ed25519PrivateKey) -> Signer:
    return Signer(key_id(private.public_key()), private.sign)


def public(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def test_the_document_has_the_words_to_sign_and_a_true_proof() -> None:
    text = DOCUMENT.read_text()
    enrolled, rotated = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    assert enrolled.encode() == enrolment_words("s1", TOKEN, public(OLD))
    assert f"`{enrolment('s1', TOKEN, public(OLD), signer(OLD)).proof}`" in text
    assert rotated.encode() == rotation_words("s1", signer(OLD).key, public(NEW))


def test_a_rotation_is_signed_by_both() -> None:
    made = rotation("s1", signer(OLD), public(NEW), signer(NEW))
    words = rotation_words("s1", made.key, public(NEW))

    assert signed(public(OLD), made.signature, words)
    assert signed(public(NEW), made.proof, words)
    assert not signed(public(NEW), made.signature, words)


@given(
    site=st.sampled_from(["s1", "s2"]), token=st.sampled_from([TOKEN, "tgt_" + "1" * 64]), of=st.sampled_from([0, 1])
)
def test_a_proof_is_good_for_its_site_its_token_and_its_key_alone(site: str, token: str, of: int) -> None:
    proof = enrolment("s1", TOKEN, public(OLD), signer(OLD)).proof
    other = (OLD, NEW)[of]

    same = (site, token, of) == ("s1", TOKEN, 0)
    assert signed(public(OLD), proof, enrolment_words(site, token, public(other))) is same
    assert not signed(public(OLD), proof, rotation_words(site, signer(OLD).key, public(other)))


def test_a_token_is_all_the_entropy_it_was_given_and_its_digest_tells_nothing_of_it() -> None:
    token = new_token(lambda count: bytes(range(count)))

    assert token == "tgt_" + bytes(range(32)).hex()
    assert re.fullmatch(r"[0-9a-f]{64}", digest(token))
    assert digest(token) != digest(token.upper())


def _added(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Add two points of the curve (RFC 8032 §5.1.4, in affine form)."""
    d = -121_665 * pow(121_666, -1, PRIME)
    product = d * a[0] * a[1] * b[0] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, PRIME)
    return x % PRIME, (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, PRIME) % PRIME


def _point_of_order_8() -> tuple[int, int]:
    """Return one: what is left of any point of the curve when the large prime order is taken out."""
    order = (1 << 252) + 27_742_317_777_372_353_535_851_937_790_883_648_493
    for y in range(2, 100):
        square = (y * y - 1) * pow(-121_665 * pow(121_666, -1, PRIME) * y * y + 1, -1, PRIME) % PRIME
        x = pow(square, (PRIME + 3) // 8, PRIME)
        x = x if (x * x - square) % PRIME == 0 else x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
        if (x * x - square) % PRIME:
            continue
        found, times, point = (0, 1), order, (x, y)
        while times:
            found = _added(found, point) if times & 1 else found
            point, times = _added(point, point), times >> 1
        if _added(_added(found, found), _added(found, found)) != (0, 1):
            return found
    raise AssertionError("an eighth of all points have it")


def test_all_points_of_small_order_are_refused_and_others_are_not() -> None:
    point, found = _point_of_order_8(), (0, 1)
    for _ in range(8):
        for sign in (0, 1 << 255):
            assert "small order" in (fault_of((found[1] | sign).to_bytes(32, "little")) or "")
        found = _added(found, point)
    assert found == (0, 1)
    for private in (OLD, NEW):
        assert fault_of(public(private)) is None


@pytest.mark.parametrize("y", [PRIME, PRIME + 1, PRIME + 18])
def test_another_spelling_of_a_point_is_refused(y: int) -> None:
    assert "canonically" in (fault_of(y.to_bytes(32, "little")) or "")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    assert fault_of(bytes(length)) == "32 bytes are expected"
