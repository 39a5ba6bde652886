"""Who was refused, on its way into the quarantine: whoever sends rubbish costs no write for each piece of it."""

from collections.abc import Callable, Iterable, Sequence

from serve_apps.ingest.intake import OTHER_SITE, UNKNOWN_KEY, Unwanted
from serve_apps.ingest.ports import Quarantine, Refusal
from serve_apps.ingest.sharing import joined
from tidegate.artifacts import Part
from tidegate.clock import Clock
from tidegate.frames import FrameError, SignedHead
from tidegate.limits import TIDE_REFUSALS_HELD_MAX, TIDE_REFUSALS_WRITTEN_US
from tidegate.tide import Status


def refusals_of(items: Iterable[object], now_us: int) -> list[Refusal]:
    """Return what was refused of a request, of which it can be said in whose name it came."""
    refused = (item for item in items if isinstance(item, Unwanted) and item.status is Status.REFUSED)
    return [_refusal(item.header.site, item.header.key, item.reason, now_us) for item in refused if item.header]


def refusal_of(parse: Callable[[bytes], SignedHead | Part], body: bytes, reason: str, now_us: int) -> list[Refusal]:
    """Return the refusal of a head, or of a part of a text, where it can be said in whose name it came."""
    try:
        header = parse(body).header
    except FrameError:
        return []
    return [_refusal(header.site, header.key, reason, now_us)]


def _refusal(site: str, key: str, reason: str, now_us: int) -> Refusal:
    return Refusal(site, key, reason, 1, now_us, now_us, vouched=reason not in {UNKNOWN_KEY, OTHER_SITE})


class Refusals:
    """Holds refusals for a second at most while they come, and until they are asked for; for one thread."""

    def __init__(self, quarantine: Quarantine, clock: Clock) -> None:
        self._quarantine, self._clock = quarantine, clock
        self._held: dict[tuple[str, str, str, bool], Refusal] = {}
        self._written_us = -TIDE_REFUSALS_WRITTEN_US

    def note(self, refused: Sequence[Refusal]) -> None:
        """Take refusals; write what is held where that wasn't done a moment ago.

        Raises:
            TemporaryError: they can't be written now; they are held on.
        """
        for each in refused:
            key = (each.site, each.key, each.reason, each.vouched)
            before = self._held.pop(key, None)
            self._held[key] = each if before is None else joined(before, each)
        since_us = self._clock.now_us() - self._written_us
        if not 0 <= since_us < TIDE_REFUSALS_WRITTEN_US or len(self._held) > TIDE_REFUSALS_HELD_MAX:
            self.write()

    def write(self) -> None:
        """Write what is held; where that fails, what is beyond the bound of it is forgotten.

        Raises:
            TemporaryError: as for `note`.
        """
        if not self._held:
            return
        try:
            self._quarantine.refuse([*self._held.values()])
        except BaseException:
            for key in [*self._held][TIDE_REFUSALS_HELD_MAX:]:
                del self._held[key]
            raise
        self._held.clear()
        self._written_us = self._clock.now_us()

    def page(self, *, items: int, site: str | None) -> list[Refusal]:
        """Return what was refused until now, the latest first.

        Raises:
            TemporaryError: as for `note`.
        """
        self.write()
        return self._quarantine.refusals(items=items, site=site)

    def close(self) -> None:
        """Write what is held."""
        self.write()
