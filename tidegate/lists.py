"""Allow and block lists: exact tokens, whole lists that are swapped between two decisions."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidegate.decision import NUMBERS, Outcome
from tidegate.limits import LIST_ENTRIES_MAX
from tidegate.payment import TokenText
from tidegate.policy.verdict import Hit, Strength

Entity = Literal["card", "device", "terminal", "merchant"]


class ListName(StrEnum):
    """The three colours of a list entry, strongest first."""

    HARD_BLOCK = "hard_block"
    ALLOW = "allow"
    SOFT_BLOCK = "soft_block"


_HITS: Final = {
    ListName.HARD_BLOCK: Hit(Strength.HARD, Outcome.DECLINE, NUMBERS["LIST_HARD_BLOCK"]),
    ListName.ALLOW: Hit(Strength.OVERRIDE, Outcome.APPROVE, NUMBERS["LIST_OVERRIDE"]),
    ListName.SOFT_BLOCK: Hit(Strength.SOFT, Outcome.DECLINE, NUMBERS["LIST_SOFT_BLOCK"]),
}


class ListEntry(BaseModel):
    """One token on one list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list: ListName
    entity: Entity
    value: TokenText


class Lists(BaseModel):
    """All lists of a site at one version; an entity may stand on several, the strongest counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=0, description="grows with each change; 0 is the empty set")] = 0
    entries: Annotated[tuple[ListEntry, ...], Field(max_length=LIST_ENTRIES_MAX)] = ()

    @model_validator(mode="after")
    def _empty_is_version_zero(self) -> "Lists":
        if self.entries and not self.version:
            raise ValueError("version: lists with entries need a version of 1 or more")
        return self


class ListIndex:
    """Lists made ready for look-up; one look-up an entity, about 0.1 µs each."""

    def __init__(self, lists: Lists) -> None:
        self.lists = lists
        self._hits: dict[tuple[str, str], list[Hit]] = {}
        for entry in lists.entries:
            self._hits.setdefault((entry.entity, entry.value), []).append(_HITS[entry.list])

    def hits(self, *, card: str, device: str | None, terminal: str, merchant: str) -> list[Hit]:
        """Return what the lists say of a payment's four entities."""
        if not self._hits:
            return []
        keys = (("card", card), ("device", device or ""), ("terminal", terminal), ("merchant", merchant))
        return [hit for key in keys for hit in self._hits.get(key, ())]
