"""API keys: shown once, stored as digests, scoped to actions and merchants. Required by default."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from tidegate.errors import FieldError, ForbiddenError, SettingsError, UnauthenticatedError, joined
from tidegate.ids import Entropy
from tidegate.limits import API_KEYS_MAX
from tidegate.payment import NameText

PREFIX: Final = "tgk_"
_SECRET_BYTES: Final = 32
ANY_MERCHANT: Final = "*"


class Scope(StrEnum):
    """What a key may do."""

    DECIDE = "decide"
    LABEL = "label"
    READ = "read"
    METRICS = "metrics"
    POLICY = "policy"
    LISTS = "lists"
    SITES = "sites"
    """In the cloud: make and revoke sites."""
    FEATURES = "features"
    """In the cloud: read what all sites did to cards."""
    CACHE = "cache"
    """In the cloud: read the same, or what `catalogue` may fetch, to hand it on, as a cache does that asks its own
    readers who they are."""
    MODELS = "models"
    """In the cloud: publish models, and say which sites should have them."""
    CATALOGUE = "catalogue"
    """In the cloud: fetch what a site should have, and report what became of it."""


def _any_or_named(text: object, named: ValidatorFunctionWrapHandler) -> str:
    return ANY_MERCHANT if text == ANY_MERCHANT else str(named(text))


_Merchant = Annotated[NameText, WrapValidator(_any_or_named)]
"""A merchant as payments name it: no other would ever be asked about."""


class StoredKey(BaseModel):
    """A key as it is stored: nobody can use it who only reads the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]
    merchants: Annotated[frozenset[_Merchant], Field(min_length=1, description="* is any")]


class KeyFile(BaseModel):
    """All keys of a site."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1, le=1)] = 1
    keys: Annotated[tuple[StoredKey, ...], Field(max_length=API_KEYS_MAX)]


def make_key(
    name: str, scopes: frozenset[Scope], entropy: Entropy, merchants: frozenset[str] = frozenset({ANY_MERCHANT})
) -> tuple[str, StoredKey]:
    """Return a new secret, to be shown once, and what is stored of it.

    Raises:
        SettingsError: the name or a merchant is none; names the field.
    """
    secret = PREFIX + entropy(_SECRET_BYTES).hex()
    try:
        return secret, StoredKey(name=name, sha256=_digest(secret.encode()), scopes=scopes, merchants=merchants)
    except ValidationError as error:
        raise _wrong("key", error, "say it in letters, digits and . _ : -") from error


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def parse_keys(name: str, data: bytes) -> KeyFile:
    """Return the keys that a file holds.

    Raises:
        SettingsError: the file is broken; names the field.
    """
    try:
        return KeyFile.model_validate_json(data)
    except ValidationError as error:
        raise _wrong(name, error, "restore it or make new keys") from error


def _wrong(what: str, error: ValidationError, todo: str) -> SettingsError:
    fields = tuple(FieldError(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors(include_input=False))
    return SettingsError(f"{what}: {joined(fields)}; {todo}", fields=fields)


def dump_keys(keys: KeyFile) -> bytes:
    """Return keys as their file."""
    return json.dumps(keys.model_dump(mode="json"), indent=1, sort_keys=True, default=sorted).encode()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, proven."""

    name: str
    scopes: frozenset[Scope]
    merchants: frozenset[str]

    def need(self, scope: Scope) -> None:
        """Refuse what the key doesn't cover."""
        if scope not in self.scopes:
            raise ForbiddenError(f"this key may not {scope.value}: use one with the scope {scope.value!r}")

    def need_merchant(self, merchant: str) -> None:
        """Refuse a merchant that isn't the key's."""
        if ANY_MERCHANT not in self.merchants and merchant not in self.merchants:
            message = "this key is another merchant's"
            raise ForbiddenError(f"merchant: {message}", fields=(FieldError("merchant", message),))

    def need_all_merchants(self) -> None:
        """Refuse a key of single merchants what shows them all."""
        if self.visible is not None:
            raise ForbiddenError("this shows all merchants: use a key that is not bound to some")

    @property
    def visible(self) -> frozenset[str] | None:
        """The merchants whose decisions this key may see; None is all."""
        return None if ANY_MERCHANT in self.merchants else self.merchants


class Keyring:
    """Tells callers by their keys; a digest of a random key is looked up, so timing tells nothing of the secret."""

    def __init__(self, keys: KeyFile) -> None:
        self._callers = {key.sha256: Caller(key.name, key.scopes, key.merchants) for key in keys.keys}

    def caller(self, headers: Mapping[bytes, bytes] | list[tuple[bytes, bytes]]) -> Caller:
        """Return who calls, by `Authorization: Bearer KEY`.

        Raises:
            UnauthenticatedError: no key, or an unknown one.
        """
        pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
        for name, value in pairs:
            if name == b"authorization":
                caller = self._callers.get(_digest(value[7:])) if value[:7].lower() == b"bearer " else None
                if caller is None:
                    raise UnauthenticatedError("nobody here knows that API key: check it, or make a new one")
                return caller
        raise UnauthenticatedError("send the API key as `Authorization: Bearer KEY`")
