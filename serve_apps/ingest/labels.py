"""Labels that are posted in the cloud: rows of the log of deltas, which brings them to the site that decided.

Which were posted is noted behind the commit. Whoever dies between the two may append a label again when it is posted
again; the gate that holds the decision knows it by its id then.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from serve_apps.ingest.ports import Book
from serve_apps.plumbing.stream.log import DELTAS, DELTAS_KEY
from serve_apps.plumbing.stream.ports import Message, Stream, Writer
from tidegate.clock import Clock, microseconds
from tidegate.deltas import Deltas, Label, labels
from tidegate.errors import ConflictError, FieldError, InvalidError, TemporaryError, TidegateError
from tidegate.limits import OCCURRED_AHEAD_US_MAX
from tidegate.payment import LabelRequest
from tidegate.records import event_body

COMMITTER: Final = "labels"
_DIGEST_BYTES: Final = 16
Became = bool | ConflictError
"""Whether a label was posted before, or that another one was under its id."""


def label_of(request: LabelRequest, now_us: int) -> Label:
    """Return a label as it goes into the log.

    Raises:
        InvalidError: it became known in the future, where nothing later could correct it.
    """
    known_us = microseconds(request.known_at)
    if known_us > now_us + OCCURRED_AHEAD_US_MAX:
        told = "more than a minute ahead of the cloud's clock: nothing later could correct it"
        raise InvalidError(f"known_at: {told}", fields=(FieldError("known_at", told),))
    said = request.label_id, request.merchant, request.transaction_id, request.verdict, request.source
    return Label(*said, known_us, now_us)


class Labels:
    """One thread's. After any failure its writer is opened anew, which fences whoever was before."""

    def __init__(self, stream: Stream, book: Book, clock: Clock) -> None:
        self._stream, self._book, self._clock = stream, book, clock
        self._writer: Writer | None = None

    def take(self, posted: Sequence[Label]) -> list[Became]:
        """Append those that are new, at most `deltas.ROWS_MAX`, and return what became of each, in their order.

        Raises:
            TemporaryError: nobody knows whether they are there; the same may be posted again.
        """
        known = self._book.digests({label.label_id for label in posted})
        told: list[Became] = []
        new: list[Label] = []
        for label in posted:
            digest, before = _digest(label), known.get(label.label_id)
            if before is None:
                known[label.label_id] = digest
                new.append(label)
            told.append(_conflict() if before not in {None, digest} else before is not None)
        if new:
            self._append(new)
            self._book.note({label.label_id: known[label.label_id] for label in new})
        return told

    def close(self) -> None:
        """Let go of the writer."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _append(self, new: Sequence[Label]) -> None:
        try:
            self._writer = self._writer or self._stream.writer(COMMITTER)
            self._writer.commit([Message(DELTAS, DELTAS_KEY, Deltas(labels(new)).to_bytes())], {})
        except TidegateError as error:
            self.close()
            raise TemporaryError(f"labels: {error.message}; post the same again") from error


def _digest(label: Label) -> bytes:
    """Return what tells two labels of one id apart (BLAKE2b, RFC 7693); when they were taken doesn't."""
    return hashlib.blake2b(event_body(label._replace(taken_us=0)._asdict()), digest_size=_DIGEST_BYTES).digest()


def _conflict() -> ConflictError:
    told = "it was used with another body; make another label, which counts where it is known later"
    return ConflictError(f"label_id: {told}", fields=(FieldError("label_id", told),))
