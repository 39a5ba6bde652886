"""The signed catalogue as a site believes it: TUF metadata, proven from a pinned root without a network. Pure.

Roles: root names the keys of all; `targets` delegates to `models`, `lists` and `config`, each with keys and paths of
its own; `snapshot` names the version of each; `timestamp` names the snapshot: the one file that changes in place.
What is proven here gates what becomes active, never whether a site starts: an expired catalogue is told, not refused.
Source: The Update Framework specification 1.0.31 (theupdateframework.github.io), sections 5.3 to 5.6.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from tidegate.clock import microseconds
from tidegate.errors import PermanentError
from tidegate.limits import CATALOGUE_ROLE_BYTES_MAX, CATALOGUE_ROOTS_MAX, CATALOGUE_TARGETS_MAX

Reading = Callable[[str], bytes | None]
"""Returns a file of the catalogue by its name, or None where there is none."""
DELEGATED: Final = {"models": ("models/*", "models/*/*"), "lists": ("lists/*",), "config": ("config/*",)}
"""Who may speak of which paths; `*` stands for no slash."""
TOP: Final = ("root", "timestamp", "snapshot", "targets")
S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


class CatalogueError(PermanentError):
    """A catalogue that a site doesn't believe: what is active stays. It is an attack, or a mistake of who signs."""

    code = "CATALOGUE_REFUSED"


class Target(NamedTuple):
    """What a catalogue says of one file; its bytes are fetched by their digest."""

    sha256: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return what a catalogue says of these bytes."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))


@dataclass(frozen=True, slots=True)
class Role:
    """One role as it was proven."""

    version: int
    sha256: str
    """Of the signed part: another signature under the same words is no other content."""
    expires_us: int
    keys: frozenset[str]
    """Whose signatures count."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A proven catalogue: its roles by name, and what it names by path."""

    roles: Mapping[str, Role]
    targets: Mapping[str, Target]

    def expired(self, now_us: int) -> tuple[str, ...]:
        """Return the roles whose word is out of date, sorted."""
        return tuple(sorted(name for name, role in self.roles.items() if role.expires_us <= now_us))


def root_name(version: int) -> str:
    """Return the file name of a root."""
    return f"{version}.root.json"


def proven(pinned: bytes, read: Reading) -> Catalogue:
    """Return the catalogue that files hold, proven from a pinned root.

    Raises:
        CatalogueError: a file is missing, damaged, or not signed by whom it must be.
    """
    root = _newest_root(pinned, read)
    timestamp = _opened(_needed(read, "timestamp.json"), Timestamp, "timestamp", root)
    snapshot = _named(read, "snapshot", timestamp.signed.snapshot_meta, Snapshot, root)
    targets = _named(read, "targets", _meta(snapshot.signed, "targets"), Targets, root)
    if targets.signed.delegations is None or set(targets.signed.delegations.roles or ()) != set(DELEGATED):
        raise CatalogueError(f"targets: must delegate to {', '.join(DELEGATED)}, and to nobody else")
    delegated = {name: _named(read, name, _meta(snapshot.signed, name), Targets, targets) for name in DELEGATED}
    roles = {"root": _role(root, root, "root"), "timestamp": _role(timestamp, root, "timestamp")}
    roles |= {"snapshot": _role(snapshot, root, "snapshot"), "targets": _role(targets, root, "targets")}
    roles |= {name: _role(said, targets, name) for name, said in delegated.items()}
    return Catalogue(roles, dict(_targets(delegated)))


def check_follows(before: Catalogue, after: Catalogue) -> None:
    """Refuse a catalogue that goes back, or says two things under one version.

    A role all of whose keys were replaced by a newer root may count anew: else a stolen key that counted to the end
    would have the last word for ever.

    Raises:
        CatalogueError: it does; names the role.
    """
    for name, old in before.roles.items():
        new = after.roles[name]
        if not old.keys & new.keys and after.roles["root"].version > before.roles["root"].version:
            continue
        if new.version < old.version:
            raise CatalogueError(f"{name}: version {new.version} after {old.version}; an older one is never taken")
        if new.version == old.version and new.sha256 != old.sha256:
            raise CatalogueError(f"{name}: version {new.version} says two things; ask who signs it, and trust neither")


def check_bytes(path: str, target: Target, data: bytes) -> None:
    """Refuse bytes that aren't what a catalogue names.

    Raises:
        CatalogueError: their length or digest is another.
    """
    if Target.of(data) != target:
        raise CatalogueError(f"{path}: its bytes aren't those that were signed; fetch it again")


def _needed(read: Reading, name: str) -> bytes:
    data = read(name)
    if data is None:
        raise CatalogueError(f"{name}: missing; fetch the catalogue again")
    return data


def _newest_root(pinned: bytes, read: Reading) -> Metadata[Root]:
    root = _parsed(pinned, Root, "root")
    _verify(root, root, "root")
    for _ in range(CATALOGUE_ROOTS_MAX):
        data = read(root_name(root.signed.version + 1))
        if data is None:
            return root
        root = _next_root(root, data)
    raise CatalogueError(f"root: more than {CATALOGUE_ROOTS_MAX} after the pinned one; pin a newer root")


def _next_root(root: Metadata[Root], data: bytes) -> Metadata[Root]:
    newer = _opened(data, Root, "root", root)
    _verify(newer, newer, "root")
    if newer.signed.version != root.signed.version + 1:
        raise CatalogueError(f"root: version {newer.signed.version} after {root.signed.version}; each is one more")
    return newer


def _named(read: Reading, name: str, meta: MetaFile, kind: type[S], by: Metadata[Any]) -> Metadata[S]:
    """Return a role as another role names it: by version, length and digest."""
    data = _needed(read, f"{meta.version}.{name}.json")
    try:
        meta.verify_length_and_hashes(data)
    except RepositoryError as error:
        raise CatalogueError(f"{name}: not the file that was signed for ({error})") from error
    said = _opened(data, kind, name, by)
    if said.signed.version != meta.version:
        raise CatalogueError(f"{name}: version {said.signed.version} where {meta.version} was signed for")
    return said


def _meta(snapshot: Snapshot, name: str) -> MetaFile:
    if f"{name}.json" not in snapshot.meta:
        raise CatalogueError(f"snapshot: says nothing of {name}")
    return snapshot.meta[f"{name}.json"]


def _opened(data: bytes, kind: type[S], name: str, by: Metadata[Any]) -> Metadata[S]:
    said = _parsed(data, kind, name)
    _verify(said, by, name)
    return said


def _parsed(data: bytes, kind: type[S], name: str) -> Metadata[S]:
    if len(data) > CATALOGUE_ROLE_BYTES_MAX:
        raise CatalogueError(f"{name}: {len(data)} bytes, and at most {CATALOGUE_ROLE_BYTES_MAX} are read")
    try:
        said: Metadata[S] = Metadata.from_bytes(data)
    except RepositoryError as error:
        raise CatalogueError(f"{name}: no metadata of TUF ({error})") from error
    if not isinstance(said.signed, kind):
        raise CatalogueError(f"{name}: metadata of another role, {said.signed.type}")
    return said


def _verify(said: Metadata[Any], by: Metadata[Any], name: str) -> None:
    try:
        by.signed.verify_delegate(name, said.signed_bytes, said.signatures)
    except (RepositoryError, ValueError) as error:
        raise CatalogueError(f"{name}: not signed by whom it must be ({error})") from error


def _role(said: Metadata[Any], by: Metadata[Any], name: str) -> Role:
    digest = hashlib.sha256(said.signed_bytes).hexdigest()
    keys = frozenset(by.signed.get_delegated_role(name).keyids)
    return Role(said.signed.version, digest, microseconds(said.signed.expires), keys)


def _targets(delegated: Mapping[str, Metadata[Targets]]) -> Iterator[tuple[str, Target]]:
    for name, said in delegated.items():
        if len(said.signed.targets) > CATALOGUE_TARGETS_MAX:
            raise CatalogueError(f"{name}: names more than {CATALOGUE_TARGETS_MAX} files")
        for path, target in said.signed.targets.items():
            yield path, _target(name, path, target)


def _target(name: str, path: str, target: TargetFile) -> Target:
    if not path.startswith(f"{name}/"):
        raise CatalogueError(f"{name}: may say nothing of {path}")
    if "sha256" not in target.hashes:
        raise CatalogueError(f"{name}: {path} has no sha256")
    return Target(target.hashes["sha256"], target.length)
