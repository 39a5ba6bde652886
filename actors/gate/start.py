"""How a gate comes up: journal, checkpoint, replay, bundle, golden rows. The same in life and in simulation."""

import contextlib
import re
from typing import Any, Final

from actors.gate.gate import Gate
from actors.gate.judge import Basis
from actors.gate.orders import Orders
from actors.gate.packs import Packs
from actors.gate.state import Rebuild, State, new_state
from actors.gate.tideline import Tideline
from actors.journal.journal import Bounds, Journal
from actors.journal.ports import Disk
from actors.journal.recovery import Owner, Recovery, open_journal
from actors.journal.trim import Line
from actors.scorer.model import Scorer
from actors.window.checkpoint import Checkpoint, decode, encode
from actors.window.window import WindowCopy
from tidegate.bundle import Manifest
from tidegate.clock import Clock, EventClock, SteadyClock
from tidegate.errors import JournalFormatError
from tidegate.frames import Origin
from tidegate.ids import Entropy, GateId, SiteId
from tidegate.limits import CHECKPOINTS_KEPT, REPLAY_WINDOW_US
from tidegate.lists import ListIndex
from tidegate.policy.active import ActivePolicy, activation_of, active_of, default_of
from tidegate.records import Kind, Lane, event_body
from tidegate.settings import SiteSettings

_CHECKPOINT: Final = re.compile(r"([0-9]{20})-([0-9a-f]{16})\.window")


def checkpoint_names(disk: Disk, epoch: str) -> list[tuple[int, str]]:
    """Return position and name of an epoch's checkpoints, newest first."""
    found = [match for name in disk.sizes() if (match := _CHECKPOINT.fullmatch(name))]
    return sorted(((int(match[1]), match[0]) for match in found if match[2] == epoch), reverse=True)


def load_checkpoint(disk: Disk, epoch: str, *, through_pos: int) -> Checkpoint | None:
    """Return the newest checkpoint of this epoch up to a position that proves whole, or None.

    Without one the journal rebuilds all of it.
    """
    for pos, name in checkpoint_names(disk, epoch):
        if pos <= through_pos:
            with contextlib.suppress(FileNotFoundError, JournalFormatError):
                return decode(disk.read(name))
    return None


def store_checkpoint(disk: Disk, epoch: str, pos: int, copy: WindowCopy) -> None:
    """Store a whole copy of the window as of `pos`, which must be durable, and forget all but the newest few."""
    disk.replace(f"{pos:020d}-{epoch}.window", encode(epoch, pos, copy))
    kept = {name for _, name in checkpoint_names(disk, epoch)[:CHECKPOINTS_KEPT]}
    for name in disk.sizes():
        if name not in kept:
            disk.remove(name)


def line_of(tideline: Tideline | None, checkpoints: Disk, epoch: str, now_us: int) -> Line | None:
    """Return what of a journal may be dropped: behind the cloud and the replay window; nothing where there is no cloud.

    A start may find one checkpoint damaged: the oldest one has to cover what goes.
    """
    if tideline is None:
        return None
    saved = checkpoint_names(checkpoints, epoch)
    oldest = saved[-1][0] if len(saved) >= CHECKPOINTS_KEPT else 0
    return Line(tideline.committed(), now_us - REPLAY_WINDOW_US, oldest)


def rebuild(journal: Journal, checkpoint: Checkpoint | None, settings: SiteSettings, packs: Packs) -> tuple[State, str]:
    """Return the gate's state as it was after the last durable record, and why its overlay couldn't be made again."""
    state = new_state(settings, checkpoint)
    origin = Origin(SiteId(settings.site), GateId(settings.gate), journal.epoch)
    replay = Rebuild(state, journal, epoch_index=journal.epoch_index, origin=origin, packs=packs)
    for piece in journal.columns_all():
        replay.take(piece)
    return state, replay.lost


def _announce(gate: Gate) -> None:
    """Journal what changed since the last run: the bundle, the lists, the configuration."""
    basis, state = gate.basis, gate.state
    lists, policy = basis.lists.activation, activation_of(basis.policy)
    config = {"config": basis.config, "settings": basis.settings.model_dump(mode="json")}
    items: list[tuple[Lane, Kind, dict[str, Any]]] = []
    if state.bundle != basis.scorer.bundle.id:
        items.append((Lane.EVENTS, Kind.BUNDLE_ACTIVATED, {"bundle": basis.scorer.bundle.id}))
    if state.policy != policy:
        items.append((Lane.EVENTS, Kind.POLICY_ACTIVATED, policy.model_dump(mode="json")))
    if state.lists != lists:
        items.append((Lane.EVENTS, Kind.LISTS_ACTIVATED, lists.model_dump(mode="json")))
    if state.config != config:
        items.append((Lane.EVENTS, Kind.CONFIG_ACTIVATED, config))
    if items:
        gate.journal.append([(lane, kind, event_body(values)) for lane, kind, values in items], gate.now_us())
        gate.journal.commit()
    state.bundle, state.lists, state.config = basis.scorer.bundle.id, lists, config
    if state.policy != policy:
        state.take_policy(policy)


def _policy_in_force(state: State, orders: Orders, manifest: Manifest) -> ActivePolicy:
    """Return the site's own policy, the later of what journal and orders say; without one, the bundle's."""
    said = [one for one in (state.policy, orders.policy()) if one is not None and one.by]
    if not said:
        return default_of(manifest.policy, manifest.trained_at_us)
    return active_of(max(said, key=lambda one: one.as_of_us))


def _lists_in_force(state: State, orders: Orders) -> ListIndex:
    return orders.load(max(state.lists, orders.lists(), key=lambda one: one.version))


def open_gate(  # noqa: PLR0913 - all that a gate stands on
    *,
    settings: SiteSettings,
    machine_mark: str,
    journal_disk: Disk,
    checkpoint_disk: Disk,
    scorer: Scorer,
    orders: Orders,
    clock: Clock,
    entropy: Entropy,
    tideline: Tideline | None = None,
) -> tuple[Gate, Recovery]:
    """Open the journal, rebuild the state, and return a gate that is ready to decide.

    Without a policy of its own the site decides by the one in its bundle; without a `tideline` it has no cloud.

    Raises:
        JournalFormatError: the journal belongs to another site or version; it is left untouched.
        JournalError: the disk failed.
        SettingsError, NotFoundError: the orders are broken, or the active lists are gone.
    """
    owner = Owner(site=SiteId(settings.site), gate=GateId(settings.gate), machine_mark=machine_mark)
    bounds = Bounds(segment_bytes=settings.journal.segment_bytes, bytes_max=settings.journal.bytes_max)
    witness = tideline.witness() if tideline is not None else None
    journal, recovery = open_journal(
        disk=journal_disk, owner=owner, clock=clock, entropy=entropy, bounds=bounds, witness=witness
    )
    checkpoint = load_checkpoint(checkpoint_disk, journal.epoch, through_pos=journal.durable_pos)
    state, lost = rebuild(journal, checkpoint, settings, orders.packs())
    policy, lists = _policy_in_force(state, orders, scorer.bundle.manifest), _lists_in_force(state, orders)
    gate = Gate(
        basis=Basis(settings, settings.fingerprint, scorer, lists, policy),
        journal=journal,
        state=state,
        clock=SteadyClock(clock, floor_us=recovery.last_time_us),
        source=clock if isinstance(clock, EventClock) else None,
    )
    if lost:
        gate.drop_overlay(lost)
    _announce(gate)
    return gate, recovery
