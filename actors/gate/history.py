"""What a journal says of the past, as the tables of `tidegate.history`: for backtests. Needs no running gate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from actors.gate.orders import Orders
from actors.journal.log import Entry
from actors.journal.ports import Disk
from actors.journal.reader import Reader
from actors.journal.segment import Columns
from tidegate.clock import rfc3339
from tidegate.errors import NotFoundError
from tidegate.events import LabelReceived
from tidegate.history import Table, batch_of, decisions_batch, label_row, lists_row, policy_row
from tidegate.ids import GateId, SiteId
from tidegate.limits import BACKTEST_BATCH_ROWS
from tidegate.lists import ListsActivation
from tidegate.policy.active import Activation
from tidegate.records import DECISION, Kind, Record

Rows = np.ndarray[Any, np.dtype[np.void]]
Batch = Any
"""An Arrow record batch; the rooms of a site know Arrow by the vocabulary alone."""
_END_US: Final = (1 << 63) - 1


class Held(NamedTuple):
    """Lists that were in force at a source, and when."""

    told: ListsActivation
    from_us: int
    to_us: int


@dataclass(slots=True)
class Summary:
    """What was found: how much lies in the span, and from when to when the whole journal goes."""

    decisions: int = 0
    labels: int = 0
    first_us: int | None = None
    last_us: int = 0
    known_until_us: int = 0
    last: str = ""


class JournalHistory:
    """The past of one gate between two times, read in one pass."""

    def __init__(self, *, site: SiteId, gate: GateId, journal: Disk, orders: Disk) -> None:
        self.summary = Summary()
        self._reader = Reader(journal)
        self._orders = Orders(orders)
        self._name = f"{site}.{gate}"
        self._from_us = 0
        self._labels: list[dict[str, Any]] = []
        self._lists: dict[str, list[Held]] = {}
        self._policies: dict[str, tuple[str, int, Activation]] = {}
        self._named: dict[str, set[Any]] = {"lists": set(), "policies": set(), "bundles": set()}

    def tables(
        self, from_us: int, to_us: int, trained_us: Callable[[str], int | None]
    ) -> Iterator[tuple[Table, Batch]]:
        """Yield decisions of the span and the labels since its beginning, in order, then what the decisions name.

        `trained_us` says when a bundle was trained, None where it is gone.

        Raises:
            NotFoundError: lists that a decision names aren't kept any more.
            JournalFormatError: a record is of a kind that this program doesn't know.
        """
        self._from_us = from_us
        for source, rows in self._runs(from_us, to_us):
            yield "decisions", decisions_batch(source, rows)
            self._name_what(source, rows)
            if len(self._labels) >= BACKTEST_BATCH_ROWS:
                yield self._told_labels()
        yield self._told_labels()
        for row in self._told_lists():  # one by one: a set may be large
            yield "lists", batch_of("lists", [row])
        yield "policies", batch_of("policies", self._told_policies())
        trained = {bundle: trained_us(bundle) for bundle in sorted(self._named["bundles"])}
        known = [{"bundle": bundle, "trained_at_us": at} for bundle, at in trained.items() if at is not None]
        yield "bundles", batch_of("bundles", known)

    def _runs(self, from_us: int, to_us: int) -> Iterator[tuple[str, Rows]]:
        """Yield decisions of the span in runs of one source, up to `BACKTEST_BATCH_ROWS` at a time."""
        held: list[Rows] = []
        before = ""
        for piece in self._reader.pieces():
            source = self._source(piece)
            rows = self._decisions(source, piece)
            inside = rows[(rows["time_us"] >= from_us) & (rows["time_us"] < to_us)]
            if held and (source != before or sum(map(len, held)) + len(inside) > BACKTEST_BATCH_ROWS):
                yield before, np.concatenate(held)
                held = []
            before = source
            self.summary.decisions += len(inside)
            if len(inside):
                held.append(inside)
        if held:
            yield before, np.concatenate(held)

    def _source(self, piece: Columns | Entry) -> str:
        place = int(piece.locators[0]) if isinstance(piece, Columns) else piece[0]
        return f"{self._name}.{self._reader.epoch_of(place)}"

    def _decisions(self, source: str, piece: Columns | Entry) -> Rows:
        """Return a piece's decisions; note what else it says."""
        if isinstance(piece, Columns):
            rows = piece.rows
        elif piece[1].kind is Kind.DECISION:
            rows = np.frombuffer(piece[1].to_bytes(), DECISION)
        else:
            self._say(source, piece[1])
            self._seen(source, piece[1].time_us, piece[1].pos)
            return np.zeros(0, DECISION)
        if self.summary.first_us is None:
            self.summary.first_us = int(rows["time_us"][0])
        self.summary.last_us = int(rows["time_us"][-1])
        self._seen(source, self.summary.last_us, int(rows["pos"][-1]))
        return rows

    def _seen(self, source: str, time_us: int, pos: int) -> None:
        self.summary.known_until_us = max(self.summary.known_until_us, time_us)
        self.summary.last = f"{source}:{pos}"

    def _say(self, source: str, record: Record) -> None:
        match record.kind:
            case Kind.LABEL_RECEIVED if record.time_us >= self._from_us:
                told = LabelReceived.model_validate(record.values())
                self._labels.append(label_row(source, told, record.time_us))
            case Kind.LISTS_ACTIVATED:
                held = self._lists.setdefault(source, [])
                if held:
                    held[-1] = held[-1]._replace(to_us=record.time_us)
                held.append(Held(ListsActivation.model_validate(record.values()), record.time_us, _END_US))
            case Kind.POLICY_ACTIVATED:
                activation = Activation.model_validate(record.values())
                self._policies.setdefault(activation.policy, (source, record.time_us, activation))
            case _:
                pass

    def _name_what(self, source: str, rows: Rows) -> None:
        """Remember what a run's decisions name."""
        self._named["lists"] |= {(source, version) for version in np.unique(rows["lists_version"]).tolist()}
        for named, column in (("policies", "policy"), ("bundles", "bundle")):
            self._named[named] |= {text.decode() for text in np.unique(rows[column]).tolist()}

    def _told_labels(self) -> tuple[Table, Batch]:
        rows, self._labels = self._labels, []
        self.summary.labels += len(rows)
        return "labels", batch_of("labels", rows)

    def _told_lists(self) -> Iterator[dict[str, Any]]:
        for source, held in self._lists.items():
            for told, from_us, to_us in held:
                if told.version and (source, told.version) in self._named["lists"]:
                    yield lists_row(source, told, from_us) | {"to_us": to_us, "text": self._text(told, to_us)}

    def _text(self, told: ListsActivation, to_us: int) -> str:
        try:
            self._orders.load(told)  # proves that they are the ones that were named
        except NotFoundError as error:
            if to_us == _END_US:
                raise
            raise NotFoundError(
                f"lists version {told.version}: no longer kept, so nobody knows what they said; begin at "
                f"{rfc3339(to_us)}, when others took their place"
            ) from error
        return "\n".join(self._orders.text(told))

    def _told_policies(self) -> Iterator[dict[str, Any]]:
        for policy in sorted(self._named["policies"] & self._policies.keys()):
            source, from_us, activation = self._policies[policy]
            yield policy_row(source, activation, from_us)
