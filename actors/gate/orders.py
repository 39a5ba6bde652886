"""Standing orders: the policy and the lists in force, as files beside the journal, and the sets behind them.

The journal says what was in force when; these files carry it over into an epoch that begins with an empty state, and
hold what the journal only names, the text of the lists.
"""

import re
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from actors.gate.packs import Packs
from actors.journal.ports import Disk
from tidegate.errors import NotFoundError, SettingsError
from tidegate.limits import LISTS_KEPT, LISTS_KEPT_SMALL, LISTS_KEPT_SMALL_BYTES
from tidegate.lists import Content, ListIndex, ListsActivation, parse
from tidegate.policy.active import Activation

POLICY: Final = "policy.json"
LISTS: Final = "lists.json"
_SET: Final = re.compile(r"([0-9]{12})-(l-[0-9a-f]{12})\.csv")
_M = TypeVar("_M", bound=BaseModel)


class Orders:
    """The orders of one site, in one folder."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def packs(self) -> Packs:
        """Return the deltas that were counted here; who writes needs one of its own."""
        return Packs(self._disk)

    def policy(self) -> Activation | None:
        """Return the policy that was last made the site's own, or None.

        Raises:
            SettingsError: its file is broken.
        """
        return self._read(POLICY, Activation)

    def keep_policy(self, activation: Activation) -> None:
        """Remember a policy, durably."""
        self._disk.replace(POLICY, activation.model_dump_json(indent=1).encode())

    def lists(self) -> ListsActivation:
        """Return the lists that were last activated; the empty set where none were.

        Raises:
            SettingsError: their file is broken.
        """
        return self._read(LISTS, ListsActivation) or ListsActivation()

    def keep_lists(self, activation: ListsActivation) -> None:
        """Remember lists, durably, and forget the oldest sets."""
        self._disk.replace(LISTS, activation.model_dump_json(indent=1).encode())
        sizes, total = self._disk.sizes(), 0
        older = sorted((name for name in sizes if _SET.fullmatch(name)), reverse=True)[1:]
        for at, name in enumerate(older):
            total += sizes[name]
            if at >= LISTS_KEPT and (at >= LISTS_KEPT_SMALL or total > LISTS_KEPT_SMALL_BYTES):
                self._disk.remove(name)

    def store(
        self, content: Content, after: ListsActivation, *, as_of_us: int, by: str, why: str, changed_us: int = 0
    ) -> ListIndex:
        """Place a set's text beside the others, durably; return it ready for look-up as the version `after` one.

        Nothing is activated yet.
        """
        told = ListsActivation(
            version=after.version + 1,
            lists=content.id(),
            entries=content.entries,
            as_of_us=as_of_us,
            changed_us=changed_us,
            by=by,
            why=why,
        )
        self._disk.replace(_file(told), "".join(content.lines()).encode())
        return ListIndex(told, content.index)

    def load(self, activation: ListsActivation) -> ListIndex:
        """Return a set ready for look-up, proven to be the one that is named.

        Raises:
            NotFoundError: it isn't kept any more.
            SettingsError: it is damaged.
        """
        if not activation.version:
            return ListIndex(activation)
        name = _file(activation)
        content = parse(name, self.text(activation))
        if content.id() != activation.lists:
            raise SettingsError(f"{name}: damaged; load the lists anew: tidegate lists load FILE")
        return ListIndex(activation, content.index)

    def text(self, activation: ListsActivation) -> list[str]:
        """Return a set's lines.

        Raises:
            NotFoundError: it isn't kept any more.
        """
        name = _file(activation)
        try:
            return self._disk.read(name).decode("ascii", errors="replace").splitlines()
        except FileNotFoundError as error:
            told = f"lists version {activation.version}: {name} isn't kept any more; load them anew"
            raise NotFoundError(told) from error

    def _read(self, name: str, model: type[_M]) -> _M | None:
        try:
            return model.model_validate_json(self._disk.read(name))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise SettingsError(f"{name}: broken; move the file away, and activate again what shall hold") from error


def _file(activation: ListsActivation) -> str:
    return f"{activation.version:012d}-{activation.lists}.csv"
