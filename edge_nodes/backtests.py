"""`tidegate backtest`: what a policy would have decided of a site's own past; judged by a Ray job, told in a report."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import pyarrow.parquet as pq
import typer

from actors.gate.history import JournalHistory, Summary
from actors.journal.disk import PosixDisk
from actors.journal.memory import MemoryDisk
from edge_nodes.loading import Configs, load
from edge_nodes.node import follow, shelf_of, training_cluster
from tidegate.clock import microseconds, rfc3339
from tidegate.errors import BundleError, InvalidError, NotFoundError, PolicyError
from tidegate.history import BACKTEST_COLUMNS, TABLES, Table, schema_of
from tidegate.ids import BundleId, GateId, SiteId
from tidegate.limits import BACKTEST_TASKS_MAX
from tidegate.payment import parse_moment
from tidegate.policy.check import read
from tidegate.policy.terms import policy_id
from tidegate.settings import SiteSettings

_MANIFEST: Final = "manifest.json"
_ZSTD_LEVEL: Final = 1


def backtest(  # noqa: PLR0913 - options of a command
    *,
    policy: Annotated[Path, typer.Option(help="TOML file of the policy to try", exists=True, dir_okay=False)],
    from_: Annotated[str, typer.Option("--from", help="the first decision's time, RFC 3339")],
    to: Annotated[str, typer.Option("--to", help="the time behind the last decision's, RFC 3339")],
    out: Annotated[Path | None, typer.Option(help="folder of the report; else one in the site's data_dir")] = None,
    config: Configs = None,
    address: Annotated[
        str | None, typer.Option(help="dashboard of a running Ray cluster, with RAY_AUTH_TOKEN; else one is started")
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, max=BACKTEST_TASKS_MAX, help="how many judge at a time")] = 2,
    deadline_s: Annotated[float, typer.Option(min=1, help="how long to follow the job")] = 3600.0,
    archive: Annotated[
        str | None, typer.Option(help="folder of an archive, and @version where it isn't the newest; else the journal")
    ] = None,
) -> None:
    """Try a policy on what was decided before: outcomes against labels, money, rule by rule, with examples.

    Reads the site's journal, also while it runs, or an archive of what many sites sent; changes nothing there.
    """
    settings, name = load(config), _policy_id(policy)
    span = _moment("--from", from_), _moment("--to", to)
    if span[0] >= span[1]:
        raise InvalidError("--to: must come after --from; give a later time")
    folder = (out or Path(settings.data_dir) / "backtests" / f"{name}-{span[0]}-{span[1]}").resolve()
    job = ["--policy", str(policy.resolve()), "--out", str(folder), "--from-us", str(span[0]), "--to-us", str(span[1])]
    job += ["--tasks", str(tasks), "--deadline-s", str(deadline_s)]
    with _past(settings, archive, folder / "history", span) as past:
        told = _judged(settings, address, [*past, *job])
    typer.echo(f"of {told['past']}")
    check, seconds = told["check"], told["seconds"]
    asked = check["equal"] + check["differing"]
    typer.echo(f"decided again as they were, {check['equal']:,} of {asked:,} came out equal; {seconds} s")
    typer.echo(f"report: {folder / 'report.html'} (and report.md, report.json)")


@contextmanager
def _past(settings: SiteSettings, archive: str | None, folder: Path, span: tuple[int, int]) -> Iterator[list[str]]:
    """Hold what a job is told of the past for as long as the block lasts: the archive, or an extract of the journal."""
    if archive is not None:
        yield ["--archive", archive]
        return
    with _extracted(settings, folder, span) as summary:
        typer.echo(f"{summary.decisions:,} decisions, {summary.labels:,} labels known until {_rfc(summary)}")
        yield ["--history", str(folder), "--known-until-us", str(summary.known_until_us)]


def _judged(settings: SiteSettings, address: str | None, job: list[str]) -> dict[str, Any]:
    environment = dict(os.environ)
    with ExitStack() as stack:
        if address is None:
            running = stack.enter_context(training_cluster(settings, typer.echo))
            address, environment = running.dashboard, running.environment
        last = follow("backtest", environment, typer.echo, "training.backtest.submit", "--address", address, *job)
    told: dict[str, Any] = json.loads(last)
    return told


def _policy_id(path: Path) -> str:
    """Return the id of a policy's file, which must compile: better known now than after the journal was read."""
    try:
        return policy_id(read(str(path), path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"--policy: {path} can't be read ({error}); name a TOML file") from error


def _moment(option: str, text: str) -> int:
    try:
        return microseconds(parse_moment(text))
    except ValueError as error:
        raise InvalidError(f"{option}: RFC 3339 is expected, for example 2026-11-01T00:00:00Z ({error})") from error


def _rfc(summary: Summary) -> str:
    return rfc3339(summary.known_until_us)


@contextmanager
def _extracted(settings: SiteSettings, folder: Path, span: tuple[int, int]) -> Iterator[Summary]:
    """Hold a site's past as a folder of Parquet files for as long as the block lasts.

    Raises:
        NotFoundError: there is no journal, or no decision in the span.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        summary = extract(settings, folder, span)
        if not summary.decisions:
            raise NotFoundError(f"--from, --to: no decision was made in that time; {_whole(summary)}")
        yield summary
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _whole(summary: Summary) -> str:
    if summary.first_us is None:
        return "the journal holds none at all"
    return f"the journal's go from {rfc3339(summary.first_us)} to {rfc3339(summary.last_us)}"


def extract(settings: SiteSettings, folder: Path, span: tuple[int, int]) -> Summary:
    """Write a site's past as the tables of `tidegate.history`, a Parquet file each, and their manifest.

    Raises:
        NotFoundError: there is no journal, or lists that a decision names are gone.
    """
    data = Path(settings.data_dir)
    journal, orders = data / "journal", data / "orders"
    if not journal.is_dir():
        raise NotFoundError(f"{journal}: no journal is there; name the site's files with --config")
    history = JournalHistory(
        site=SiteId(settings.site),
        gate=GateId(settings.gate),
        journal=PosixDisk(journal),
        orders=PosixDisk(orders) if orders.is_dir() else MemoryDisk(),
    )
    with ExitStack() as stack:
        writers = {table: stack.enter_context(_writer(folder, table)) for table in TABLES}
        for table, batch in history.tables(*span, lambda bundle: _trained_us(settings, bundle)):
            writers[table].write_batch(batch, row_group_size=max(batch.num_rows, 1))
    told = {"site": settings.site, "gate": settings.gate, "span": span, **asdict(history.summary)}
    (folder / _MANIFEST).write_text(json.dumps(told, indent=1))
    return history.summary


def _writer(folder: Path, table: Table) -> pq.ParquetWriter:
    schema = schema_of(table, ("source", *BACKTEST_COLUMNS) if table == "decisions" else None)
    return pq.ParquetWriter(folder / f"{table}.parquet", schema, compression="zstd", compression_level=_ZSTD_LEVEL)


def _trained_us(settings: SiteSettings, bundle: str) -> int | None:
    """Return when a bundle was trained; None where the shelf has it no more, or the site's time is another's."""
    if settings.clock.source == "events":
        return None
    try:
        return shelf_of(settings).load(BundleId(bundle)).manifest.trained_at_us
    except (BundleError, OSError):
        return None
