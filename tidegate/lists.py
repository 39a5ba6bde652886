"""Lists: tokens that are blocked, allowed, watched, or spared one rule; whole sets, swapped between two decisions.

A set is a text of lines (CSV), read line by line: a hundred thousand entries are a bulk load, not a request. It is
named by its content. What was read has one form, sorted, so that the same entries have the same name.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from tidegate.clock import microseconds, rfc3339
from tidegate.decision import NUMBERS, Outcome
from tidegate.errors import FieldError, ListsError
from tidegate.limits import LIST_CHANGES_MAX, LIST_ENTRIES_MAX, LIST_ERRORS_TOLD_MAX, LIST_LINE_CHARS_MAX
from tidegate.payment import NameText, TokenText
from tidegate.policy.active import ActivePolicy
from tidegate.policy.columns import Listings
from tidegate.policy.verdict import Hit, Strength

Entity = Literal["card", "device", "terminal", "merchant", "country", "mcc"]
ENTITIES: Final[tuple[Entity, ...]] = ("card", "device", "terminal", "merchant", "country", "mcc")
COLUMNS: Final = ("list", "entity", "value", "expires_at", "rule")
"""The header of a set; the last two may be left out, and empty is none."""
NEVER: Final = 1 << 62
_ID_HEX: Final = 12


class ListName(StrEnum):
    """What a list does: the first three in order of strength; a watch asks for a look, suppress spares one rule."""

    HARD_BLOCK = "hard_block"
    ALLOW = "allow"
    SOFT_BLOCK = "soft_block"
    WATCH = "watch"
    SUPPRESS = "suppress"


_HITS: Final = {
    ListName.HARD_BLOCK: Hit(Strength.HARD, Outcome.DECLINE, NUMBERS["LIST_HARD_BLOCK"]),
    ListName.ALLOW: Hit(Strength.OVERRIDE, Outcome.APPROVE, NUMBERS["LIST_OVERRIDE"]),
    ListName.SOFT_BLOCK: Hit(Strength.SOFT, Outcome.DECLINE, NUMBERS["LIST_SOFT_BLOCK"]),
}


class Listed(NamedTuple):
    """What one entry says of its token, until it expires; `rule` is the id of the rule that a card is spared."""

    list: ListName
    expires_us: int
    rule: str


Index = Mapping[Entity, Mapping[str, tuple[Listed, ...]]]


class ListsActivation(BaseModel):
    """Lists as they are journaled: which set became active, since when it holds, who made it so and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=0, lt=1 << 63, description="grows with each change; 0 is the empty set")] = 0
    lists: Annotated[str, Field(pattern=r"^l-[0-9a-f]{12}$|^$", description="names the content")] = ""
    entries: Annotated[int, Field(ge=0)] = 0
    as_of_us: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] = 0
    changed_us: Annotated[int, Field(description="when single entries were last changed; 0 is not since as_of_us")] = 0
    by: Annotated[str, Field(max_length=64)] = ""
    why: Annotated[str, Field(max_length=500)] = ""


@dataclass(frozen=True, slots=True)
class ListIndex:
    """All lists of a site at one version, ready for look-up; one look-up an entity, about 0.1 µs each."""

    activation: ListsActivation = field(default_factory=ListsActivation)
    index: Index = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The version that decisions name."""
        return self.activation.version

    @property
    def as_of_us(self) -> int | None:
        """Since when the lists hold; None where the site has none, which can't grow old."""
        return self.activation.as_of_us if self.activation.version else None

    def find(self, values: tuple[str, ...], now_us: int) -> list[Listed]:
        """Return what holds of a payment's tokens at a time; `values` are in the order of `ENTITIES`."""
        found: list[Listed] = []
        for entity, table in self.index.items():
            entries = table.get(values[ENTITIES.index(entity)])
            if entries is not None:
                found += [entry for entry in entries if entry.expires_us > now_us]
        return found


def hits_of(found: Iterable[Listed], watched: Hit) -> list[Hit]:
    """Return what entries say of a payment; `watched` is what the policy makes of a watch."""
    return [_HITS.get(entry.list, watched) for entry in found if entry.list is not ListName.SUPPRESS]


def spared(found: Iterable[Listed]) -> tuple[str, ...]:
    """Return the ids of the rules that entries spare a payment."""
    return tuple(entry.rule for entry in found if entry.list is ListName.SUPPRESS)


_VALUES: Final[dict[str, TypeAdapter[str]]] = {
    "card": TypeAdapter(TokenText),
    "device": TypeAdapter(TokenText),
    "terminal": TypeAdapter(NameText),
    "merchant": TypeAdapter(NameText),
    "country": TypeAdapter(Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]),
    "mcc": TypeAdapter(Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]),
}
_RULE: Final = TypeAdapter(Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,47}$")])


def parse(name: str, lines: Iterable[str]) -> "Content":
    """Return the entries of a set's lines, the first of which names the columns.

    Raises:
        ListsError: some line is wrong. All of it is refused then: the first lines that are wrong are named with
            their reasons, values never.
    """
    content, wrong = Content(), []
    for number, row in _rows(name, lines):
        try:
            content.add(row)
        except ValueError as error:
            wrong.append(FieldError(f"line {number}", str(error)))
            if len(wrong) == LIST_ERRORS_TOLD_MAX:
                break
    if wrong:
        told = "; ".join(f"{one.field}: {one.message}" for one in wrong)
        raise ListsError(
            f"{name}: {told}; nothing was changed: mend the lines and load the file again", fields=tuple(wrong)
        )
    return content


def _rows(name: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each line's number and its columns by name, blank ones left out."""
    reader = csv.reader(_bounded(name, lines), strict=True)
    header = tuple(next(reader, ()))
    if header[:3] != COLUMNS[:3] or not set(header) <= set(COLUMNS) or len(set(header)) != len(header):
        raise ListsError(f"{name}: line 1: must name the columns {','.join(COLUMNS)}, the last two as needed")
    try:
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise ListsError(f"{name}: line {reader.line_num}: {len(row)} columns, expected {len(header)}")
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ListsError(f"{name}: line {reader.line_num}: {error}; write plain CSV") from error


def _bounded(name: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if len(line) > LIST_LINE_CHARS_MAX:
            raise ListsError(f"{name}: line {number}: longer than {LIST_LINE_CHARS_MAX} characters; is it CSV?")
        yield line


class Place(BaseModel):
    """Where an entry stands: what it says is one thing of a token on a list, and for `suppress` of one rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list: ListName
    entity: Entity
    value: Annotated[str, Field(max_length=LIST_LINE_CHARS_MAX)]
    rule: Annotated[str, Field(max_length=LIST_LINE_CHARS_MAX)] = ""


class Entry(Place):
    """One entry, as a line of a set."""

    expires_at: Annotated[
        str,
        Field(max_length=LIST_LINE_CHARS_MAX, description="RFC 3339; without it the entry stays until it is removed"),
    ] = ""


class Change(BaseModel):
    """Entries to be set and to be taken off, together or not at all; columns as a set's lines have them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    add: Annotated[tuple[Entry, ...], Field(max_length=LIST_CHANGES_MAX)] = ()
    remove: Annotated[tuple[Place, ...], Field(max_length=LIST_CHANGES_MAX)] = ()


def amended(lists: "ListIndex", change: Change, now_us: int) -> "Content":
    """Return a set's entries after a change; an entry that stands already gets the new date.

    Raises:
        ListsError: some entry is none, is past already, or isn't there to be removed; each is named by its place in
            the change, values never.
    """
    content, wrong = Content(lists), []
    for name, rows, apply in (("remove", change.remove, content.remove), ("add", change.add, content.put)):
        for at, row in enumerate(rows):
            try:
                apply(row.model_dump(mode="json"), now_us)
            except ValueError as error:
                wrong.append(FieldError(f"{name}.{at}", str(error)))
    if wrong:
        told = "; ".join(f"{one.field}: {one.message}" for one in wrong[:LIST_ERRORS_TOLD_MAX])
        raise ListsError(f"lists: {told}; nothing was changed", fields=tuple(wrong[:LIST_ERRORS_TOLD_MAX]))
    return content


class Content:
    """Entries by what they are about; equal entries share their memory, about 200 bytes a token.

    Begins as a copy of a set, which stays as it is.
    """

    def __init__(self, lists: "ListIndex | None" = None) -> None:
        self.index: dict[Entity, dict[str, tuple[Listed, ...]]] = {}
        self.entries = 0
        self._shared: dict[tuple[Listed, ...], tuple[Listed, ...]] = {}
        if lists is not None:
            self.index = {entity: dict(table) for entity, table in lists.index.items()}
            self.entries = sum(len(entries) for table in self.index.values() for entries in table.values())

    def add(self, row: Mapping[str, str]) -> None:
        """Add one entry.

        Raises:
            ValueError: it is none, or one too many.
        """
        entity, value, entry = _entry(row)
        table = self.index.setdefault(entity, {})
        old = table.get(value, ())
        if any((one.list, one.rule) == (entry.list, entry.rule) for one in old):
            raise ValueError("this token stands on this list already")
        if self.entries >= LIST_ENTRIES_MAX:
            raise ValueError(f"more than {LIST_ENTRIES_MAX} entries; a site holds no more")
        self._set(table, value, (*old, entry))
        self.entries += 1

    def put(self, row: Mapping[str, str], now_us: int) -> None:
        """Add one entry, in the place of what the same list said of the same token.

        Raises:
            ValueError: it is none, is past, or one too many.
        """
        if _entry(row)[2].expires_us <= now_us:
            raise ValueError("expires_at: is past already")
        self._take(row)
        self.add(row)

    def remove(self, row: Mapping[str, str], _now_us: int) -> None:
        """Take one entry off its list; `rule` names which where a card is spared several.

        Raises:
            ValueError: it isn't there.
        """
        if not self._take(row):
            raise ValueError("stands on no such list; `tidegate lists show --entries` says what does")

    def _take(self, row: Mapping[str, str]) -> bool:
        """Return whether there was such an entry to be taken off."""
        table = self.index.get(_entity(row["entity"]), {})
        old = table.get(row["value"], ())
        kept = tuple(one for one in old if (one.list, one.rule) != (row["list"], row["rule"]))
        if kept:
            self._set(table, row["value"], kept)
        else:
            table.pop(row["value"], None)
        self.entries -= len(old) - len(kept)
        return len(kept) < len(old)

    def _set(self, table: dict[str, tuple[Listed, ...]], value: str, entries: tuple[Listed, ...]) -> None:
        ordered = tuple(sorted(entries))
        table[value] = self._shared.setdefault(ordered, ordered)

    def lines(self) -> Iterator[str]:
        """Yield the one form of these entries: header, then lines in order, each with its end."""
        yield ",".join(COLUMNS) + "\n"
        for entity in ENTITIES:
            for value, entries in sorted(self.index.get(entity, {}).items()):
                for name, expires_us, rule in entries:
                    expires = "" if expires_us == NEVER else rfc3339(expires_us)
                    yield f"{name},{entity},{value},{expires},{rule}\n"

    def id(self) -> str:
        """Return `l-` and the first 12 hex digits of the SHA-256 of the one form."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line.encode())
        return f"l-{digest.hexdigest()[:_ID_HEX]}"


def _entry(row: Mapping[str, str]) -> tuple[Entity, str, Listed]:
    entity, text, rule = row["entity"], row["value"], row.get("rule", "")
    name = next((one for one in ListName if one == row["list"]), None)
    if name is None:
        raise ValueError(f"list: one of {', '.join(ListName)}")
    known = _entity(entity)
    _check("value", _VALUES[known], text)
    expires_us = _expiry(row.get("expires_at", ""))
    if name is not ListName.SUPPRESS:
        if rule:
            raise ValueError("rule: only suppress names a rule; leave it empty")
        return known, text, Listed(name, expires_us, "")
    if known != "card" or expires_us == NEVER:
        raise ValueError("suppress: spares a card one rule until a date; set entity card and expires_at")
    _check("rule", _RULE, rule)
    return known, text, Listed(name, expires_us, rule)


def _entity(text: str) -> Entity:
    known = next((one for one in ENTITIES if one == text), None)
    if known is None:
        raise ValueError(f"entity: one of {', '.join(ENTITIES)}")
    return known


def _check(column: str, adapter: TypeAdapter[str], text: str) -> None:
    try:
        adapter.validate_python(text)
    except ValidationError as error:
        said = error.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{column}: {said}") from None


def _expiry(text: str) -> int:
    if not text:
        return NEVER
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expires_at: RFC 3339 is expected, for example 2027-01-31T00:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("expires_at: says no offset; write for example 2027-01-31T00:00:00Z")
    return microseconds(moment.astimezone(UTC))


def listings(lists: ListIndex, rows: np.ndarray[Any, Any], policy: ActivePolicy) -> Listings:
    """Return what lists say of rows of dtype `records.DECISION`, each at its own time, for `decide_columns`."""
    found: dict[int, list[Listed]] = {}
    for entity, table in lists.index.items():
        tokens = {value.encode(): entries for value, entries in table.items()}
        for at, entries in enumerate(map(tokens.get, rows[entity].tolist())):
            if entries is not None:
                now_us = int(rows["time_us"][at])
                found.setdefault(at, []).extend(entry for entry in entries if entry.expires_us > now_us)
    places = sorted(at for at, entries in found.items() if entries)
    hits = [hits_of(found[at], policy.watch) for at in places]
    return Listings(np.array(places, np.int64), hits, [policy.book.bits(spared(found[at])) for at in places])
