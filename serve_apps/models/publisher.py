"""The catalogue as the cloud signs it: each change is proven as a site would prove it, and only then published.

Versions never fall and are never used twice, not even where a crash cut a change off: they go on from the highest file
there is. The timestamp is written last, so a site sees the whole of a change or nothing of it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from serve_apps.models.ports import Keys, Published
from tidegate.errors import InvalidError, SettingsError
from tidegate.limits import (
    CATALOGUE_RENEW_PART,
    CATALOGUE_ROLES_US,
    CATALOGUE_ROOT_US,
    CATALOGUE_SNAPSHOT_US,
    CATALOGUE_TIMESTAMP_US,
)
from tidegate.trust import DELEGATED, TOP, Catalogue, CatalogueError, Target, check_follows, proven, root_name

_LIFE_US: Final = {
    "root": CATALOGUE_ROOT_US,
    "targets": CATALOGUE_ROLES_US,
    "snapshot": CATALOGUE_SNAPSHOT_US,
    "timestamp": CATALOGUE_TIMESTAMP_US,
    **dict.fromkeys(DELEGATED, CATALOGUE_ROLES_US),
}
_ONE: Final = 1


def _until(role: str, now_us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=now_us + _LIFE_US[role])


class _Change:
    """A change that isn't published yet: what is new, over what is there at `versions`."""

    def __init__(self, published: Published, keys: Keys, now_us: int, versions: Mapping[str, int]) -> None:
        self._published, self._keys, self._now_us, self._versions = published, keys, now_us, dict(versions)
        self._new: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """Return a file as it will be."""
        return self._new.get(name) or self._published.read(name)

    def current(self, role: str) -> Metadata[Any]:
        """Return what a role says so far.

        Raises:
            CatalogueError: its file is gone.
        """
        return Metadata.from_bytes(self._file(role))

    def sign(self, role: str, said: Metadata[Any], *by: Metadata[Any]) -> None:
        """Let a role say something, with every key that `by` names for it, as the next version."""
        version = said.signed.version = self._published.newest(role) + 1
        said.signed.expires = _until(role, self._now_us)
        said.signatures.clear()
        wanted = {key for each in by for key in each.signed.get_delegated_role(role).keyids}
        for signer in self._keys.signers(role):
            if signer.public_key.keyid in wanted:
                said.sign(signer, append=True)
        self._versions[role] = version
        self._new[f"{version}.{role}.json"] = said.to_bytes()

    def point(self, root: Metadata[Root]) -> None:
        """Let snapshot and timestamp name what is said now."""
        meta = {f"{name}.json": self._meta(name) for name in ("targets", *DELEGATED)}
        self.sign("snapshot", Metadata(Snapshot(meta=meta)), root)
        self.sign("timestamp", Metadata(Timestamp(snapshot_meta=self._meta("snapshot"))), root)
        self._new["timestamp.json"] = self._file("timestamp")

    def files(self) -> dict[str, bytes]:
        """Return what is new: a root after what its keys sign, the timestamp at the end."""
        ends = ("timestamp.json", ".root.json")
        return dict(sorted(self._new.items(), key=lambda item: [item[0].endswith(end) for end in ends]))

    def _file(self, role: str) -> bytes:
        data = self.read(f"{self._versions[role]}.{role}.json")
        if data is None:
            raise CatalogueError(f"{role}: missing; put a copy of the catalogue's folder back")
        return data

    def _meta(self, role: str) -> MetaFile:
        return MetaFile.from_data(self._versions[role], self._file(role), ["sha256"])


class Publisher:
    """Signs and publishes; one at a time, whoever calls sees to that."""

    def __init__(self, published: Published, keys: Keys, *, root_threshold: int = _ONE) -> None:
        self._published, self._keys, self._root_threshold = published, keys, root_threshold

    @property
    def pinned(self) -> bytes:
        """The first root: what sites are installed with.

        Raises:
            SettingsError: there is none.
        """
        first = self._published.read(root_name(_ONE))
        if first is None:
            raise SettingsError("catalogue: it has no root; establish it first")
        return first

    def catalogue(self) -> Catalogue:
        """Return what is published, proven.

        Raises:
            CatalogueError: a change was cut off by a crash, or somebody touched the files; `establish` signs anew.
        """
        return proven(self.pinned, self._published.read)

    def establish(self, now_us: int) -> Catalogue:
        """Make the catalogue where there is none, and finish a change that a crash cut off."""
        if not self._published.newest("timestamp"):
            return self._made(now_us)
        try:
            return self.catalogue()
        except CatalogueError:
            return self._signed_anew(now_us)

    def publish(self, role: str, targets: Mapping[str, Target], now_us: int) -> Catalogue:
        """Say what a role names from now on: all of it, not a change.

        Raises:
            InvalidError: nobody delegates to such a role.
            CatalogueError: a path isn't the role's own.
        """
        if role not in DELEGATED:
            raise InvalidError(f"role: {role!r} names no files; {', '.join(DELEGATED)} do")
        change = self._change(now_us)
        said = change.current(role)
        said.signed.targets = {path: _file(path, target) for path, target in targets.items()}
        return self._published_with(change, {role: said})

    def renew(self, now_us: int) -> Catalogue:
        """Sign anew whose word ends soon; nothing is written where none does."""
        before = self.catalogue()
        due = [name for name, role in before.roles.items() if _ends_soon(name, role.expires_us - now_us)]
        if not due:
            return before
        change = self._change(now_us)
        said = {name: change.current(name) for name in ("targets", *DELEGATED) if name in due}
        return self._published_with(change, said, root=change.current("root") if "root" in due else None)

    def rotate(self, role: str, now_us: int) -> Catalogue:
        """Give a role new keys and revoke those it has; what it says is signed by the new ones at once.

        Raises:
            InvalidError: there is no such role.
        """
        change = self._change(now_us)
        if role in DELEGATED:
            targets = change.current("targets")
            _exchange(targets.signed, role, self._keys.make(role).public_key)
            return self._published_with(change, {"targets": targets, role: change.current(role)})
        if role not in TOP:
            raise InvalidError(f"role: there is no {role!r}; there are {', '.join((*TOP, *DELEGATED))}")
        root = change.current("root")
        count = root.signed.roles[role].threshold  # as published, whatever was configured since
        _exchange(root.signed, role, *(self._keys.make(role).public_key for _ in range(count)))
        said = {"targets": change.current("targets")} if role == "targets" else {}
        return self._published_with(change, said, root=root)

    def _count(self, role: str) -> int:
        return self._root_threshold if role == "root" else _ONE

    def _made(self, now_us: int) -> Catalogue:
        keys = {role: self._first_keys(role) for role in (*TOP, *DELEGATED)}
        ids = {role: [key.keyid for key in known] for role, known in keys.items()}
        roles = {role: Role(ids[role], self._count(role)) for role in TOP}
        root = Metadata(Root(keys={key.keyid: key for role in TOP for key in keys[role]}, roles=roles))
        delegated = {
            name: DelegatedRole(name, ids[name], _ONE, terminating=True, paths=list(paths))
            for name, paths in DELEGATED.items()
        }
        named = Delegations({key.keyid: key for name in DELEGATED for key in keys[name]}, delegated)
        said = {"targets": Metadata(Targets(delegations=named))} | {name: Metadata(Targets()) for name in DELEGATED}
        return self._published_with(_Change(self._published, self._keys, now_us, {}), said, root=root)

    def _first_keys(self, role: str) -> list[Key]:
        """Return the keys of a role that has signed nothing yet: those that a crash left, and as many as lack."""
        known = list(self._keys.signers(role))[: self._count(role)]
        made = [self._keys.make(role) for _ in range(self._count(role) - len(known))]
        return [signer.public_key for signer in (*known, *made)]

    def _change(self, now_us: int) -> _Change:
        """Return a change of what is published; what a crash left beside it is no part of it."""
        versions = {name: role.version for name, role in self.catalogue().roles.items()}
        return _Change(self._published, self._keys, now_us, versions)

    def _signed_anew(self, now_us: int) -> Catalogue:
        """Finish what was cut off behind its root: all that the root's keys sign was written before it."""
        versions = {name: self._published.newest(name) for name in (*TOP, *DELEGATED)}
        change = _Change(self._published, self._keys, now_us, versions)
        said = {name: change.current(name) for name in ("targets", *DELEGATED)}
        return self._published_with(change, said, follows=False)

    def _published_with(
        self,
        change: _Change,
        said: Mapping[str, Metadata[Any]],
        *,
        root: Metadata[Root] | None = None,
        follows: bool = True,
    ) -> Catalogue:
        """Sign what changed, and snapshot and timestamp over it; prove it as a site does; publish it."""
        first = not self._published.newest("timestamp")
        acting = root or change.current("root")
        if root is not None:
            change.sign("root", root, root, *(() if first else (change.current("root"),)))
        targets = said.get("targets") or change.current("targets")
        for name, each in said.items():
            change.sign(name, each, targets if name in DELEGATED else acting)
        change.point(acting)
        pinned = change.read(root_name(_ONE))
        after = proven(pinned or b"", change.read)
        if follows and not first:
            check_follows(self.catalogue(), after)
        self._published.write(change.files())
        return after


def _ends_soon(role: str, left_us: int) -> bool:
    return left_us < _LIFE_US[role] // CATALOGUE_RENEW_PART


def _exchange(signed: Root | Targets, role: str, *keys: Key) -> None:
    old = list(signed.get_delegated_role(role).keyids)
    for key in keys:
        signed.add_key(key, role)
    for keyid in old:
        signed.revoke_key(keyid, role)


def _file(path: str, target: Target) -> TargetFile:
    return TargetFile(target.size, {"sha256": target.sha256}, path)
