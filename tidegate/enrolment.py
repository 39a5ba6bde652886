"""How the cloud comes to know a site's key: what site and cloud say to each other, and what each signature is of.

A site proves that it holds the key which it hands in (RFC 2986 §3 says why): whoever has a token can't have another's
key enrolled. What is signed begins with words that no frame begins with.
"""

import hashlib
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidSignature
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tidegate.frames import Signer, public_key
from tidegate.ids import Entropy, is_name
from tidegate.limits import TIDE_WHY_CHARS_MAX
from tidegate.payment import holds_card_number

SITES_PATH: Final = "/v1/sites"
REGISTRY_PATH: Final = "/v1/registry"
_MARK: Final = "tgt_"
_SECRET_BYTES: Final = 32
_PUBLIC_BYTES: Final = 32
_SIGNATURE_HEX: Final = 128
_PRIME: Final = (1 << 255) - 19
_SIGN_BIT: Final = 1 << 255
_Y_OF_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK: Final = frozenset({0, 1, _PRIME - 1, _Y_OF_ORDER_8, _PRIME - _Y_OF_ORDER_8})
"""The y of each of the eight points of small order of Curve25519's twisted Edwards form (RFC 8032 §5.1)."""


def _no_card_number(text: str) -> str:
    if holds_card_number(text):
        raise ValueError("holds what looks like a card number")
    return text


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError("1 to 32 lower case letters, digits and dashes, the first no dash")
    return _no_card_number(text)


SiteName = Annotated[str, AfterValidator(_named), Field(json_schema_extra={"pattern": "^[a-z0-9][a-z0-9-]{0,31}$"})]
KeyIdText = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Public = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="32 bytes of Ed25519 (RFC 8032) in hex digits")]
_Signature = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{_SIGNATURE_HEX}}}$")]
_Why = Annotated[
    str,
    Field(min_length=1, max_length=TIDE_WHY_CHARS_MAX, description="kept with who"),
    AfterValidator(_no_card_number),
]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NewSite(_Body):
    """A site that is to be."""

    site: SiteName


class Enrolment(_Body):
    """A site's first key, or the first after all were revoked."""

    token: Annotated[str, Field(pattern=r"^tgt_[0-9a-f]{64}$", description="the one-time token")]
    public_key: _Public
    proof: Annotated[_Signature, Field(description="by that key, of `enrolment_words`")]


class Rotation(_Body):
    """A key in place of another."""

    key: Annotated[KeyIdText, Field(description="the key that is replaced")]
    public_key: _Public
    signature: Annotated[_Signature, Field(description="by the key that is replaced, of `rotation_words`")]
    proof: Annotated[_Signature, Field(description="by the new key, of the same")]


class Revocation(_Body):
    """The end of a key, or of all keys of a site."""

    why: _Why


class Acknowledgement(_Body):
    """Somebody has looked at a site's alarms: why they are none any more."""

    why: _Why


KeyState = Literal["active", "retiring", "revoked"]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KeyAnswer(_Told):
    """A key of a site, as the cloud knows it; times are RFC 3339."""

    site: str
    key: str
    public_key: str
    state: KeyState
    enrolled_at: str
    retires_at: Annotated[str | None, Field(description="when it ends by itself, since another took its place")]
    revoked_at: str | None
    revoked_by: str | None
    why: str | None


class TokenAnswer(_Told):
    """A one-time token: it is shown this once."""

    site: str
    token: str
    expires_at: str


class RegisteredAnswer(_Told):
    """A site in the registry."""

    site: str
    made_at: str
    made_by: str
    token_until: Annotated[str | None, Field(description="until when a token waits to be used")]
    revoked_at: str | None
    revoked_by: str | None
    why: str | None
    keys: Annotated[list[KeyAnswer], Field(description="the newest first")]


class AlarmAnswer(_Told):
    """An epoch whose alarms somebody has looked at."""

    site: str
    gate: str
    epoch: str
    reasons: list[str]


class AcknowledgedAnswer(_Told):
    """What somebody has looked at."""

    site: str
    by: str
    why: str
    data: list[AlarmAnswer]


class RegistryPage(_Told):
    """Sites by their names."""

    data: list[RegisteredAnswer]
    has_more: bool
    next_cursor: str | None


def new_token(entropy: Entropy) -> str:
    """Return a one-time token."""
    return _MARK + entropy(_SECRET_BYTES).hex()


def digest(token: str) -> str:
    """Return what is kept of a token, in hex digits: nobody can use it who only reads the registry."""
    return hashlib.sha256(token.encode()).hexdigest()


def enrolment_words(site: str, token: str, public: bytes) -> bytes:
    """Return what an enrolment's proof signs."""
    return f"tidegate enrolment 1\n{site}\n{digest(token)}\n{public.hex()}\n".encode()


def rotation_words(site: str, key: str, public: bytes) -> bytes:
    """Return what both signatures of a rotation sign: `public` takes the place of the key `key`."""
    return f"tidegate rotation 1\n{site}\n{key}\n{public.hex()}\n".encode()


def enrolment(site: str, token: str, public: bytes, signer: Signer) -> Enrolment:
    """Return a site's request to enrol its key."""
    proof = signer.sign(enrolment_words(site, token, public)).hex()
    return Enrolment(token=token, public_key=public.hex(), proof=proof)


def rotation(site: str, old: Signer, public: bytes, new: Signer) -> Rotation:
    """Return a site's request to replace its key."""
    words = rotation_words(site, old.key, public)
    return Rotation(key=old.key, public_key=public.hex(), signature=old.sign(words).hex(), proof=new.sign(words).hex())


def signed(public: bytes, signature: str, words: bytes) -> bool:
    """Tell whether the key with these 32 public bytes signed; a key that is no point of the curve never did."""
    try:
        public_key(public).verify(bytes.fromhex(signature), words)
    except InvalidSignature:
        return False
    return True


def fault_of(public: bytes) -> str | None:
    """Return what is wrong with a public key, None where nothing is.

    With a point of small order anybody could sign; of two spellings of one point only the canonical one is taken.
    """
    if len(public) != _PUBLIC_BYTES:
        return f"{_PUBLIC_BYTES} bytes are expected"
    y = int.from_bytes(public, "little") & (_SIGN_BIT - 1)
    if y >= _PRIME:
        return "not written canonically (RFC 8032 §5.1.3)"
    return "a point of small order, with which anybody could sign" if y in _WEAK else None
