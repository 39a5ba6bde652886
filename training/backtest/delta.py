"""A history in an archive of what the sites sent, at a pinned version."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate.archived import restored
from tidegate.artifacts import artifact_name
from tidegate.history import TIMES, Table, batch_of, schema_of
from tidegate.limits import ARCHIVE_WINDOW_ROWS, BACKTEST_BATCH_ROWS
from training.archive import ArchiveError, PinnedArchive
from training.backtest.ports import BacktestError
from training.backtest.spans import Group, Span, cut

_END_US = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class DeltaArchive:
    """The tables of an archive. Decisions lie there as they came; they are sorted a window of time at a time."""

    pinned: PinnedArchive

    def read(self, table: Table, span: Span, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a span; see the port."""
        try:
            self._check(table, columns)
            for batch in self._read(table, span, columns):
                yield batch.select([*columns])
        except (ArchiveError, ValueError) as error:
            raise BacktestError(str(error)) from error

    def _check(self, table: Table, columns: Sequence[str]) -> None:
        known = set(schema_of(table).names)
        if table == "decisions":
            known &= {field.name for field in self.pinned.table(table).schema().fields}
        if missing := sorted(set(columns) - known):
            raise BacktestError(f"{table}: has no {', '.join(missing)}; another program wrote it")

    def split(self, span: Span, parts: int) -> tuple[Span, ...]:
        """Return the span in parts; see the port."""
        return cut(self._groups(), span, parts)

    def _groups(self) -> list[Group]:
        return [Group(file.rows, file.first_us, file.last_us) for file in self.pinned.files("decisions")]

    def _read(self, table: Table, span: Span, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        match table:
            case "decisions":
                yield from self._decisions(span, columns)
            case "labels":
                stored = [name for name in schema_of("labels").names if name in {*columns, TIMES["labels"]}]
                for batch in self.pinned.batches("labels", stored, span):
                    yield batch.cast(schema_of("labels", stored))
            case "lists":
                yield from self._lists()
            case "policies":
                yield batch_of("policies", self._policies())
            case "bundles":
                yield batch_of("bundles", self.pinned.rows("bundles", schema_of("bundles").names).to_pylist())

    def _decisions(self, span: Span, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield decisions in windows of time that fit in memory: a source's `pos` never falls as its time rises."""
        groups = self._groups()
        rows = sum(group.rows for group in groups if group.meets(span))
        names, grown = [*dict.fromkeys((*columns, "source", "pos"))], self.pinned.grown("decisions")
        for window in cut(groups, span, max(1, -(-rows // ARCHIVE_WINDOW_ROWS))):
            found = self.pinned.rows("decisions", names, window).sort_by(
                [("source", "ascending"), ("pos", "ascending")]
            )
            for batch in found.combine_chunks().to_batches(BACKTEST_BATCH_ROWS):
                yield restored(batch, columns, grown)

    def _lists(self) -> Iterator[pa.RecordBatch]:
        """Yield sets one by one, since one may be large; of one whose text hasn't come yet the text is null."""
        texts = self.pinned.rows("artifacts", ["sha256", "kind"]).to_pylist()
        digests = {artifact_name("lists", row["sha256"]): row["sha256"] for row in texts if row["kind"] == "lists"}
        told = self.pinned.rows("lists", ["source", "version", "from_us", "as_of_us", "lists"])
        rows = told.sort_by([("source", "ascending"), ("from_us", "ascending"), ("version", "ascending")]).to_pylist()
        for row, after in zip(rows, [*rows[1:], None], strict=True):
            follows = after is not None and after["source"] == row["source"]
            until = after["from_us"] if follows and after is not None else _END_US
            yield batch_of("lists", [{**row, "to_us": until, "text": self._text(digests.get(row["lists"]))}])

    def _text(self, sha256: str | None) -> str | None:
        return None if sha256 is None else self.pinned.text(sha256)

    def _policies(self) -> list[dict[str, object]]:
        """Return each policy once, as it first became active."""
        told = self.pinned.rows("policies", schema_of("policies").names).sort_by([("from_us", "descending")])
        return [*{row["policy"]: row for row in told.to_pylist()}.values()]
