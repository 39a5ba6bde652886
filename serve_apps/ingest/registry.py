"""The registry: which sites there are, which keys may sign for them, and how a key comes and goes.

A site has one key, and two for a while after a rotation. What was revoked never comes back: a site enrols anew, with a
new key and a new token, which only an operator makes. Nothing secret is kept: of a token its digest, of a key its
public half.
"""

from dataclasses import replace
from typing import Final, NamedTuple

from serve_apps.ingest.ports import Draft, Register, SiteEntry, SiteKey
from tidegate.clock import Clock
from tidegate.enrolment import (
    Enrolment,
    Rotation,
    digest,
    enrolment_words,
    fault_of,
    new_token,
    rotation_words,
    signed,
)
from tidegate.errors import FieldError, ForbiddenError, InvalidError, NotFoundError, TakenError
from tidegate.frames import key_id, public_key
from tidegate.ids import Entropy
from tidegate.limits import TIDE_OVERLAP_US, TIDE_SITE_KEYS_MAX, TIDE_SITES_MAX, TIDE_TOKEN_US

_ASK: Final = "ask for a new one: tidegate cloud site token NAME"
_REPLACED: Final = "replaced by an enrolment"


class TokenError(ForbiddenError):
    """A one-time token that may not be used: a new one is needed."""

    code = "TOKEN_REFUSED"


class KeyRefusedError(ForbiddenError):
    """A key that may not do what it signed."""

    code = "KEY_REFUSED"


class Made(NamedTuple):
    """A one-time token, which is told once, and until when it may be used."""

    token: str
    until_us: int


class Registered(NamedTuple):
    """A site and its keys as of now, the newest first."""

    site: SiteEntry
    keys: tuple[SiteKey, ...]


class Registry:
    """Decides who may sign for whom; `Keys` for the intake."""

    def __init__(self, register: Register, clock: Clock, entropy: Entropy) -> None:
        self._register, self._clock, self._entropy = register, clock, entropy

    def key(self, key_id: str) -> SiteKey | None:
        """Return a key as of now, revoked or not: never from a memory of before, so that a revocation counts at once.

        Raises:
            TemporaryError: there is no way to look it up now.
        """
        key = self._register.key(key_id)
        return None if key is None else key.as_of(self._clock.now_us())

    def site(self, name: str) -> Registered:
        """Return a site.

        Raises:
            NotFoundError: there is none of that name.
        """
        return self._registered(_need(self._register, name))

    def sites(self, *, after: str, items: int) -> list[Registered]:
        """Return sites in the order of their names, from behind `after` on."""
        return [self._registered(site) for site in self._register.sites(after=after, items=items)]

    def add(self, name: str, *, by: str) -> Made:
        """Make a site, and the token with which its key is enrolled.

        Raises:
            TakenError: there is one of that name.
            InvalidError: there are as many as there may be.
        """
        with self._register.change() as draft:
            if draft.site(name) is not None:
                raise TakenError(
                    f"site: there is one named {name}; for another token: tidegate cloud site token {name}",
                    fields=(FieldError("site", "taken"),),
                )
            if draft.count() >= TIDE_SITES_MAX:
                raise InvalidError(f"site: {TIDE_SITES_MAX} sites are here, which is the bound; no more are taken")
            return self._tokened(draft, SiteEntry(name, self._clock.now_us(), by))

    def token(self, name: str) -> Made:
        """Make another token for a site; the one before can't be used any more.

        Raises:
            NotFoundError: there is no such site.
        """
        with self._register.change() as draft:
            return self._tokened(draft, _need(draft, name))

    def enrol(self, name: str, asked: Enrolment) -> SiteKey:
        """Take a site's key in, once for its token. The same key with the same token again gets the same answer.

        Keys that the site has had until now are revoked: who got a new token is on another machine, or lost the key.

        Raises:
            TokenError: the token is unknown, used, too old, or another site's.
            KeyRefusedError: the key was revoked.
            TakenError: the key is enrolled already.
            InvalidError: the key is none, or the proof isn't its.
        """
        public = _public(asked.public_key)
        _tokened_site(self._register, name, asked.token, self._clock.now_us())  # strangers keep nobody from changing it
        with self._register.change() as draft:
            now_us = self._clock.now_us()
            site = _tokened_site(draft, name, asked.token, now_us)
            _prove(signed(public, asked.proof, enrolment_words(name, asked.token, public)), "proof")
            made = SiteKey(key_id(public_key(public)), name, public, now_us)
            if site.token_key:
                return _enrolled_before(draft, site, made, now_us)
            _need_new(draft, made)
            _revoke_all(draft, name, now_us, why=_REPLACED, by=name)
            draft.put_key(made)
            draft.put_site(replace(site, token_key=made.key_id, revoked_us=None, why="", by=""))
            return made

    def rotate(self, name: str, asked: Rotation) -> SiteKey:
        """Put a key in the place of another, which signs on for `TIDE_OVERLAP_US` and is revoked then.

        The same again gets the same answer.

        Raises:
            KeyRefusedError: the old key isn't this site's, is revoked, or has been replaced; or didn't sign.
            TakenError: the new key is enrolled already.
            InvalidError: the new key is none, or the proof isn't its.
        """
        public = _public(asked.public_key)
        _own(self._register, name, asked.key, self._clock.now_us())  # as above
        with self._register.change() as draft:
            now_us = self._clock.now_us()
            old = _own(draft, name, asked.key, now_us)
            words = rotation_words(name, old.key_id, public)
            if not signed(old.public, asked.signature, words):
                raise KeyRefusedError("signature: it isn't the old key's; sign as docs/identity.md says")
            _prove(signed(public, asked.proof, words), "proof")
            made = SiteKey(key_id(public_key(public)), name, public, now_us)
            if old.retires_us is not None:
                return _rotated_before(draft, made, now_us)
            _need_new(draft, made)
            draft.put_key(made)
            draft.put_key(replace(old, retires_us=now_us + TIDE_OVERLAP_US))
            return made

    def revoke_key(self, name: str, key: str, *, why: str, by: str) -> SiteKey:
        """End a key, from the next frame on; one that has ended stays as it is.

        Raises:
            NotFoundError: this site has no such key.
        """
        with self._register.change() as draft:
            now_us = self._clock.now_us()
            found = draft.key(key)
            if found is None or found.site != name:
                raise NotFoundError("key: this site has none of that id; tidegate cloud site show NAME lists its keys")
            return _revoked(draft, found, now_us, why=why, by=by)

    def revoke_site(self, name: str, *, why: str, by: str) -> Registered:
        """End all keys of a site and its token, from the next frame on; what has ended stays as it is.

        Raises:
            NotFoundError: there is no such site.
        """
        with self._register.change() as draft:
            site, now_us = _need(draft, name), self._clock.now_us()
            _revoke_all(draft, name, now_us, why=why, by=by)
            if site.revoked_us is None:
                site = replace(site, revoked_us=now_us, why=why, by=by)
            draft.put_site(replace(site, token=""))
        return self.site(name)

    def _registered(self, site: SiteEntry) -> Registered:
        now_us = self._clock.now_us()
        return Registered(site, tuple(key.as_of(now_us) for key in reversed(self._register.keys(site.name))))

    def _tokened(self, draft: Draft, site: SiteEntry) -> Made:
        token, until_us = new_token(self._entropy), self._clock.now_us() + TIDE_TOKEN_US
        draft.put_site(replace(site, token=digest(token), token_until_us=until_us, token_key=""))
        return Made(token, until_us)


def _need(register: Register, name: str) -> SiteEntry:
    site = register.site(name)
    if site is None:
        raise NotFoundError("site: there is none of that name; an operator makes it: tidegate cloud site add NAME")
    return site


def _tokened_site(register: Register, name: str, token: str, now_us: int) -> SiteEntry:
    """Return the site for which a token was made last, whether it was used or not."""
    site = register.site(name)  # whether there is one learns nobody without a token
    if site is None or site.token != digest(token):
        raise TokenError(f"token: it isn't the one that was made last for a site of that name; {_ASK}")
    if not site.token_key and now_us >= site.token_until_us:
        raise TokenError(f"token: it is too old; {_ASK}")
    return site


def _public(text: str) -> bytes:
    public = bytes.fromhex(text)
    fault = fault_of(public)
    if fault is not None:
        raise InvalidError(f"public_key: {fault}", fields=(FieldError("public_key", fault),))
    return public


def _prove(proven: bool, field: str) -> None:  # noqa: FBT001 - what it is about
    if not proven:
        message = "it isn't a signature by the public key of what docs/identity.md says"
        raise InvalidError(f"{field}: {message}", fields=(FieldError(field, message),))


def _enrolled_before(draft: Draft, site: SiteEntry, made: SiteKey, now_us: int) -> SiteKey:
    """Answer a token that has been used: who didn't hear the first answer hears it now."""
    before = draft.key(made.key_id)
    if before is None or site.token_key != made.key_id:
        raise TokenError(f"token: it was used; {_ASK}")
    return _valid(before, now_us)


def _rotated_before(draft: Draft, made: SiteKey, now_us: int) -> SiteKey:
    """Answer a key that has been replaced: by the same key as now, or by another."""
    before = draft.key(made.key_id)
    if before is None or before.site != made.site:
        raise KeyRefusedError("key: it was replaced before, by another than this one; sign with that one")
    return _valid(before, now_us)


def _valid(key: SiteKey, now_us: int) -> SiteKey:
    known = key.as_of(now_us)
    if known.revoked_us is not None:
        raise KeyRefusedError(f"key: {known.key_id} was revoked: {known.why}; enrol anew, with a new token")
    return known


def _own(register: Register, name: str, key: str, now_us: int) -> SiteKey:
    found = register.key(key)
    if found is None or found.site != name:
        raise KeyRefusedError("key: it isn't one of this site's; enrol: tidegate site enrol")
    return _valid(found, now_us)


def _need_new(draft: Draft, made: SiteKey) -> None:
    if draft.key(made.key_id) is not None:
        message = "this key is enrolled already; a key belongs to one site, and is enrolled once: make another"
        raise TakenError(f"public_key: {message}", fields=(FieldError("public_key", "enrolled already"),))
    if len(draft.keys(made.site)) >= TIDE_SITE_KEYS_MAX:
        raise InvalidError(
            f"site: it has had {TIDE_SITE_KEYS_MAX} keys, which is the bound; make a site of another name"
        )


def _revoke_all(draft: Draft, name: str, now_us: int, *, why: str, by: str) -> None:
    for key in draft.keys(name):
        _revoked(draft, key, now_us, why=why, by=by)


def _revoked(draft: Draft, key: SiteKey, now_us: int, *, why: str, by: str) -> SiteKey:
    known = key.as_of(now_us)
    if known.revoked_us is None:
        known = replace(known, revoked_us=now_us, why=why, by=by)
        draft.put_key(known)
    return known
