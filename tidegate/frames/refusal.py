"""Why a frame isn't taken: one error, a stable word for the reason, and a message for people."""

from typing import Literal, get_args

from tidegate.errors import PermanentError

Reason = Literal["malformed", "oversized", "signature", "schema", "count", "contiguity", "sha256", "chain"]
"""malformed: bytes that aren't laid out as they should be; oversized: a bound of `tidegate.limits` is broken;
signature: not signed by this key; schema: records of a kind that this program doesn't know; count: another number of
records or bytes than the header says; contiguity: records that don't follow each other; sha256: other records than the
header's; chain: records that don't lead from the hash before to the hash after them."""

REASONS: tuple[Reason, ...] = get_args(Reason)


class FrameError(PermanentError):
    """A frame or head that can't be taken as it is; `reason` is one of `REASONS`."""

    code = "FRAME_REFUSED"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
