"""What the doctor reads from a site's rooms through the rooms' own ports: journal, checkpoints, shelf, disk."""

from collections.abc import Callable
from typing import Final

from actors.gate.activation import golden_of_model
from actors.gate.start import checkpoint_names
from actors.journal.layout import EpochName, epoch_names
from actors.journal.ports import Disk, File
from actors.journal.report import lost_line, torn_line
from actors.journal.walk import Walk, walk
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from actors.window.checkpoint import decode
from edge_nodes.doctor.ports import BundleSeen, CheckpointsSeen, JournalSeen
from tidegate.errors import BundleError, JournalFormatError, PolicyError
from tidegate.ids import GateId, SiteId
from tidegate.limits import FLUSH_PROBE_US_MAX, FLUSH_PROBES
from tidegate.policy.check import examine

_PROBE_BYTES: Final = 640
"""About a decision."""


def flushes_us(file: File, ticks_ns: Callable[[], int]) -> tuple[float, ...]:
    """Return how long each small durable write takes, in microseconds; stops early on a disk that is broken.

    Raises:
        DiskFullError: there is no room for the probe.
        OSError: the disk failed.
    """
    file.extend(FLUSH_PROBES * _PROBE_BYTES)
    began_ns, took_us = ticks_ns(), []
    for at in range(FLUSH_PROBES):
        started_ns = ticks_ns()
        file.pwrite(bytes(_PROBE_BYTES), at * _PROBE_BYTES)
        file.sync()
        ended_ns = ticks_ns()
        took_us.append((ended_ns - started_ns) / 1000)
        if (ended_ns - began_ns) / 1000 > FLUSH_PROBE_US_MAX:
            break
    return tuple(took_us)


def journal_seen(disk: Disk, site: str, gate: str, *, held: bool) -> JournalSeen:
    """Return what the newest epoch holds that is finished; reads all of it, as a start does.

    `held`: a gate writes to it, so that its end may look torn and isn't.
    """
    found = None
    for name in reversed(epoch_names(disk.sizes())):
        try:
            found = walk(disk, name, (SiteId(site), GateId(gate)))
        except JournalFormatError as error:
            return JournalSeen(epoch=str(name.epoch), refused=error.message)
        if not found.unfinished:
            return _seen(name, found, held=held)
    return JournalSeen()


def _seen(name: EpochName, found: Walk, *, held: bool) -> JournalSeen:
    started = found.started or {}
    return JournalSeen(
        epoch=str(name.epoch),
        lost=tuple(lost_line(lost) for lost in found.lost),
        torn=torn_line(found.torn) if found.torn and not held else "",
        began=str(started.get("reason", "")),
        machine_mark=str(started.get("machine_mark", "")),
        last_pos=found.at.next_pos - 1,
        last_time_us=found.at.last_time_us,
    )


def checkpoints_seen(disk: Disk, epoch: str) -> CheckpointsSeen:
    """Return which checkpoints of an epoch are whole."""
    whole, damaged = [0], []
    for pos, name in checkpoint_names(disk, epoch):
        try:
            decode(disk.read(name))
        except JournalFormatError:
            damaged.append(name)
        except FileNotFoundError:
            continue  # a gate that runs made a newer one meanwhile
        else:
            whole.append(pos)
    return CheckpointsSeen(newest_pos=max(whole), damaged=tuple(damaged))


def bundle_seen(shelf: Shelf, ticks: Callable[[], float]) -> BundleSeen:
    """Return the active bundle, its golden rows scored as a start scores them, its rules tried as at an activation.

    A start doesn't try them: what decides already mustn't be kept from it by a busy minute.
    """
    try:
        active = shelf.active()
        if active is None:
            return BundleSeen()
        scorer = Scorer(shelf.load(active))
    except BundleError as error:
        return BundleSeen(refused=error.message)
    manifest, rows = scorer.bundle.manifest, len(scorer.bundle.golden_features)
    try:
        examine(active, manifest.policy, golden_of_model(scorer), ticks)
        refused = ""
    except PolicyError as error:
        refused = error.message
    return BundleSeen(active, "", manifest.trained_at_us, rows, manifest.policy.ladder.bundle, refused)
