"""`python -m serve_apps.archive`, which `tidegate archive` runs: questions, proof and upkeep of an archive."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.checked import Recomputing, Result, keep
from serve_apps.archive.consumer import ORDER
from serve_apps.archive.delta import open_store, opened
from serve_apps.archive.ports import ArchiveError
from serve_apps.archive.query import Questions, kept
from serve_apps.archive.recompute import Recomputed
from serve_apps.archive.render import FORMATS
from tidegate.archived import KEPT, Pin
from tidegate.clock import SystemClock
from tidegate.errors import TidegateError
from tidegate.limits import QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX


def _query(options: argparse.Namespace) -> int:
    answer = Questions(options.archive, options.version).ask(options.sql, options.limit)
    sys.stdout.write(FORMATS[options.format](answer))
    if answer.more:
        sys.stderr.write(f"the first {options.limit:,} rows; --limit shows more\n")
    return 0


def _version(options: argparse.Namespace) -> int:
    tables = opened(options.archive)
    sys.stdout.write(f"{Pin(**{table: tables[table].version() for table in KEPT})}\n")
    return 0


def _verify(options: argparse.Namespace) -> int:
    """Count every row; a repeated record is an error, a missing one may still be on its way."""
    told = kept(Questions(options.archive, options.version), QUERY_ROWS_MAX)
    for each in told:
        line = f"{each.source}.L{int(each.lane)}  {each.rows:,} rows, {each.first} to {each.last}"
        sys.stdout.write(f"{line}, {each.missing:,} not there yet, {each.repeated:,} repeated\n")
    return 1 if any(each.repeated for each in told) else 0


def _recompute(options: argparse.Namespace) -> int:
    """Compute the features of every decision again; what came of it is kept for the archive's metrics."""
    whole = Recomputed()
    for source, told in Recomputing(options.archive, options.version).each():
        whole = whole.plus(told)
        line = f"{source}  {told.decisions:,} decisions, {told.compared:,} compared, {told.partly:,} in part"
        gap = f", not from {told.gap} on: a record before isn't there" if told.gap else ""
        differ = f", {told.differing:,} differ, first {told.first}" if told.differing else ""
        sys.stdout.write(f"{line}{gap}{differ}\n")
    keep(options.archive, Result(SystemClock().now_us(), whole))
    return 1 if whole.differing else 0


def _compact(options: argparse.Namespace) -> int:
    opened(options.archive)  # an archive that isn't there isn't made here
    store = open_store(options.archive)
    for table in KEPT:
        merged, gone = store.merge(table), store.vacuum(table)
        sys.stdout.write(f"{table}: {merged:,} files merged, {len(gone):,} beyond the retention removed\n")
    return 0


def _rejoin(options: argparse.Namespace) -> int:
    """Let a partition be read again from its log's beginning; the table that says where to go on is changed last."""
    opened(options.archive)
    store = open_store(options.archive)
    for app in options.partition:
        if store.offset(TOPICS[app.partition("/")[0]], app) < 0:
            raise ArchiveError(f"{app}: nothing is archived of it, or it is to be read from its beginning already")
        for table in ORDER:
            store.rejoin(table, app)
        sys.stdout.write(f"{app}: read from its beginning once the archive is started; what is there is left out\n")
    return 0


def _partition(text: str) -> str:
    topic, _, number = text.partition("/")
    if topic not in TOPICS or not number.isdecimal() or f"{int(number)}" != number:
        raise argparse.ArgumentTypeError(f"must be {', '.join(f'{name}/N' for name in TOPICS)}, as the status names it")
    return text


def _pin(text: str) -> Pin:
    pin = Pin.parse(text)
    if pin is None:
        raise argparse.ArgumentTypeError("a version is seven numbers, such as 41.40.7.1.1.1.2: see `archive version`")
    return pin


def _rows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= QUERY_ROWS_MAX:
        raise argparse.ArgumentTypeError(f"must be 1 to {QUERY_ROWS_MAX}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    made = argparse.ArgumentParser(prog="tidegate archive", description=__doc__)
    commands = made.add_subparsers(required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--archive", type=Path, default=Path("var/cloud/archive"), help="the archive's folder")
    pinned = argparse.ArgumentParser(add_help=False)
    pinned.add_argument("--version", type=_pin, help="as `version` told it; else as it is now")
    query = commands.add_parser("query", parents=[where, pinned], help="ask in SQL")
    query.add_argument("sql", help="for example: SELECT outcome, count(*) FROM decisions GROUP BY outcome")
    query.add_argument("--limit", type=_rows, default=QUERY_ROWS_DEFAULT, help="rows to show at the most")
    query.add_argument("--format", choices=FORMATS, default="table")
    query.set_defaults(run=_query)
    commands.add_parser("version", parents=[where], help="name the archive as it is now").set_defaults(run=_version)
    verify = commands.add_parser("verify", parents=[where, pinned], help="count all records; none may be there twice")
    verify.set_defaults(run=_verify)
    again = commands.add_parser("recompute", parents=[where, pinned], help="compute all served features again")
    again.set_defaults(run=_recompute)
    compact = commands.add_parser("compact", parents=[where], help="merge small files, remove what is beyond retention")
    compact.set_defaults(run=_compact)
    rejoin = commands.add_parser("rejoin", parents=[where], help="go on with a log that was put back from a copy")
    rejoin.add_argument("partition", type=_partition, nargs="+", help="such as tidegate.L1/0, as the status names it")
    rejoin.set_defaults(run=_rejoin)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the process's status."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except TidegateError as error:
        sys.stderr.write(f"tidegate: {error.message}\n")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
