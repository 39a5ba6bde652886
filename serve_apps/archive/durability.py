"""What Delta's own writer leaves out on a local disk: syncing what was committed, and proving what a start finds.

delta-rs never calls fsync. A commit is a file in `_delta_log` that names the data files it adds; it counts here from
the moment that all of them, and the folders that name them, are on the disk. Until then its offsets aren't
acknowledged, so a commit that a power cut tore may be dropped: its rows are read from the log once more.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from serve_apps.archive.ports import ArchiveError
from tidegate.limits import ARCHIVE_PROVEN_COMMITS

Sync = Callable[[Path], None]
LOG: Final = "_delta_log"
TORN: Final = "_torn"
"""Where torn commits are put for whoever wants to look; Delta takes no notice of names that begin with `_`."""
_HINT: Final = "_last_checkpoint"
_DIGITS: Final = 20
_PARQUET: Final = b"PAR1"


def sync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Added(NamedTuple):
    """A data file that a commit adds, and its size in bytes."""

    path: Path
    size: int


def commit_file(table: Path, version: int) -> Path:
    """Return the file of one commit."""
    return table / LOG / f"{version:0{_DIGITS}}.json"


def versions(table: Path) -> list[int]:
    """Return the commits whose files are there, ascending."""
    names = (path.name.removesuffix(".json") for path in (table / LOG).glob("*.json"))
    return sorted(int(name) for name in names if len(name) == _DIGITS and name.isdigit())


def added(table: Path, version: int) -> list[Added]:
    """Return the data files that a commit adds.

    Raises:
        ValueError: the commit's file is torn.
    """
    files = [action["add"] for action in _actions(table, version) if "add" in action]
    return [Added(table / unquote(file["path"]), int(file["size"])) for file in files]


def _actions(table: Path, version: int) -> list[dict[str, Any]]:
    text = commit_file(table, version).read_text()
    if not text.endswith(("\n", "}")):
        raise ValueError("cut short")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def sync_commits(
    table: Path, first: int, last: int, sync: Sync = sync, *, gone: Collection[Path] = frozenset()
) -> None:
    """Put commits, the files that they add but those that are gone, and the folders that name both on the disk."""
    told = [file.path for version in range(first, last + 1) for file in added(table, version)]
    files = [path for path in told if path not in gone]
    for path in (*files, *sorted({folder for file in files for folder in _folders(table, file)})):
        sync(path)
    for version in range(first, last + 1):
        sync(commit_file(table, version))
    sync(table / LOG)


def sync_checkpoint(table: Path, version: int, sync: Sync = sync) -> None:
    """Put a checkpoint and the hint that names it on the disk."""
    for path in (table / LOG).glob(f"{version:0{_DIGITS}}.checkpoint*"):
        sync(path)
    sync(table / LOG / _HINT)
    sync(table / LOG)


def sync_made(table: Path, sync: Sync = sync) -> None:
    """Put a new table's folders, from the archive's parent down, on the disk."""
    for folder in (table.parent.parent, table.parent, table):
        sync(folder)


def _folders(table: Path, file: Path) -> Iterator[Path]:
    """Yield the folders between a data file and its table, the table included."""
    for folder in file.parents:
        yield folder
        if folder == table:
            return


def prove(table: Path, sync: Sync = sync) -> list[str]:
    """Put torn commits at a log's end aside, sync the newest whole ones; return what was put aside, and why.

    Merging removes files that older commits added, so those that a later commit removes aren't looked for.

    Raises:
        ArchiveError: a commit is torn or missing and whole ones follow it, which no power cut does; or none is left.
    """
    there = versions(table)
    newest = there[-ARCHIVE_PROVEN_COMMITS:]
    if not newest or newest != list(range(newest[0], newest[-1] + 1)):
        raise ArchiveError(f"{table}: commits are missing from its log; restore the archive from its copy")
    removed = {name for version in newest for name in _removed(table, version)}
    torn = {version: why for version in newest if (why := _torn(table, version, removed))}
    whole = [version for version in newest if version not in torn]
    if not whole or any(version < whole[-1] for version in torn):
        first = min(torn)
        raise ArchiveError(f"{table}: commit {first}: {torn[first]}; no power cut does that: restore it from its copy")
    for version in sorted(torn, reverse=True):
        _put_aside(table, version, sync)
    _drop_hint(table, whole[-1], sync)
    sync_commits(table, whole[0], whole[-1], sync, gone=removed)
    return [f"{table.name} commit {version}: {why}" for version, why in torn.items()]


def _put_aside(table: Path, version: int, sync: Sync) -> None:
    folder = table / TORN
    folder.mkdir(exist_ok=True)
    commit_file(table, version).replace(folder / commit_file(table, version).name)
    sync(folder)
    sync(table / LOG)


def _drop_hint(table: Path, last: int, sync: Sync) -> None:
    """Remove checkpoints that are newer than the log or torn, and the hint where it names none that is there.

    They only save time: a table is read from its commits without them.
    """
    log = table / LOG
    for path in log.glob("*.checkpoint*.parquet"):
        if int(path.name[:_DIGITS]) > last or not _ends_whole(path):
            path.unlink()
    hint = log / _HINT
    if hint.is_file() and not _names_checkpoint(hint):
        hint.unlink()
    sync(log)


def _names_checkpoint(hint: Path) -> bool:
    try:
        version = int(json.loads(hint.read_text())["version"])
    except (ValueError, KeyError, TypeError):
        return False
    return any(hint.parent.glob(f"{version:0{_DIGITS}}.checkpoint*.parquet"))


def _removed(table: Path, version: int) -> set[Path]:
    """Return the data files that a commit removes; none where its file is torn."""
    try:
        actions = _actions(table, version)
        return {table / unquote(action["remove"]["path"]) for action in actions if "remove" in action}
    except (ValueError, KeyError, TypeError):
        return set()


def _torn(table: Path, version: int, removed: set[Path]) -> str:
    """Return what a power cut took of a commit; empty where it is whole."""
    try:
        for path, size in added(table, version):
            if path in removed:
                continue
            if not path.is_file() or path.stat().st_size != size:
                return f"{path.name} is missing or cut short"
            if not _ends_whole(path):
                return f"{path.name} has no end"
    except (ValueError, KeyError, TypeError) as error:
        return f"its file is torn ({error})"
    return ""


def _ends_whole(path: Path) -> bool:
    if path.stat().st_size < len(_PARQUET):
        return False
    with path.open("rb") as file:
        file.seek(-len(_PARQUET), os.SEEK_END)
        return file.read() == _PARQUET
