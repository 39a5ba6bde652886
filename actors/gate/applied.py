"""What a record says of deltas that were counted: which versions, and by what they can be found again."""

from typing import Any, NamedTuple, Self

from actors.window.overlay import Reached


class Applied(NamedTuple):
    """The body of a record `OVERLAY_APPLIED`.

    Versions from `since` on and before `until` are in the overlay from here on. `since` beyond where the overlay was:
    what lies between was never seen here. `sha256` names the batch; none, and no rows: nothing came, and the cloud
    said so at `as_of_us`.
    """

    since: int
    until: int
    sha256: str
    as_of_us: int
    rows: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Return what a record's values say."""
        return cls(values["from"], values["to"], values["sha256"], values["as_of_us"], values["rows"])

    def values(self) -> dict[str, Any]:
        """Return the record's values."""
        told = self._asdict()
        return {"from": told.pop("since"), "to": told.pop("until"), **told}

    def reached(self, before: Reached) -> Reached:
        """Return where an overlay is after these versions."""
        return before.then(self.until, self.as_of_us, gap=self.since > before.version)
