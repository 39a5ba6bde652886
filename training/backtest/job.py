"""The backtest as a Ray job: a policy and a history in, reports out. `training.backtest.submit` runs it.

`python -m training.backtest.job --history DIR --policy FILE --out DIR ...` (or `--archive DIR@VERSION`) prints
`progress` lines and, last, one JSON line. Parts of the history are judged by tasks beside each other; a policy with
brakes by one, in order, since what a brake does rests on all before it.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from tidegate.errors import PermanentError, PolicyError
from tidegate.limits import BACKTEST_PART_ROWS, BACKTEST_PARTS_MAX
from tidegate.policy.active import ActivePolicy
from tidegate.policy.check import read
from tidegate.policy.terms import policy_id
from training.archive import PinnedArchive
from training.backtest import render
from training.backtest.delta import DeltaArchive
from training.backtest.options import REPORTS, Options, parser
from training.backtest.parquet import ParquetArchive
from training.backtest.ports import Archive, BacktestError
from training.backtest.report import Asked, numbers
from training.backtest.spans import Span
from training.backtest.tally import Measure, Tally
from training.backtest.trial import try_policy
from training.options import ROOT


def tell(step: str, done: float) -> None:
    """Print one line of progress; `done` is the part of the whole job."""
    sys.stdout.write(f"progress step={step} done={done:.2f}\n")
    sys.stdout.flush()


def policy_of(path: Path, as_of_us: int) -> ActivePolicy:
    """Return the policy of a file.

    Raises:
        PolicyError: it can't be read or doesn't compile.
    """
    try:
        terms = read(path.name, path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"--policy: {path} can't be read ({error}); name a TOML file") from error
    return ActivePolicy(policy_id(terms), terms, as_of_us)


def past(options: Options) -> tuple[Archive, str, int]:
    """Return what there is of the past, what reports call it, and until when it is known.

    Raises:
        ArchiveError: the archive isn't there, or not in that version any more.
        BacktestError: a site's extract doesn't say until when it goes.
    """
    if options.archive is not None:
        pinned = PinnedArchive.of(options.archive)
        known = options.known_until_us
        return DeltaArchive(pinned), pinned.name, pinned.known_until_us(_span(options)) if known is None else known
    if options.history is None or options.known_until_us is None:
        raise BacktestError("--known-until-us: say until when the history goes, labels included")
    return ParquetArchive(options.history), "the site's journal", options.known_until_us


def _span(options: Options) -> Span:
    return Span(options.from_us, options.to_us)


def judge(archive: Archive, policy: ActivePolicy, span: Span, known_until_us: int) -> Tally:
    """Judge one part of a history, in a task's own process."""
    pa.set_cpu_count(1)  # the cluster shares out the processors, not each task
    return try_policy(archive, policy, span, known_until_us, lambda _: None)


def parts(archive: Archive, policy: ActivePolicy, options: Options) -> tuple[Span, ...]:
    """Return the spans to judge: a policy with brakes gets one."""
    whole = _span(options)
    if policy.book.braked:
        return (whole,)
    rows = sum(batch.num_rows for batch in archive.read("decisions", whole, ("time_us",)))
    wanted = max(options.tasks, min(-(-rows // BACKTEST_PART_ROWS), BACKTEST_PARTS_MAX))
    return archive.split(whole, wanted)


def judged(
    archive: Archive, policy: ActivePolicy, spans: Sequence[Span], known_until_us: int, tasks: int
) -> Iterator[Tally]:
    """Yield each part's tally in the order of the parts, as many under way at a time as was asked for.

    Raises:
        BacktestError: the history can't be read.
    """
    task = ray.remote(num_cpus=1)(judge)
    under_way: list[Any] = []
    for span in spans:
        under_way.append(task.remote(archive, policy, span, known_until_us))
        if len(under_way) == tasks:
            yield _got(under_way.pop(0))
    for each in under_way:
        yield _got(each)


def _got(part: Any) -> Tally:  # noqa: ANN401 - a reference of Ray's
    try:
        tally: Tally = ray.get(part)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PermanentError):
            raise error.cause from error
        raise
    return tally


def run(options: Options) -> dict[str, Any]:
    """Do the whole job and return what is to be known of it.

    Raises:
        PolicyError: the policy can't be read or doesn't compile.
        BacktestError: the history can't be read, was made by another schema, or has no decisions in the span.
    """
    tell("policy", 0.0)
    policy = policy_of(options.policy, options.from_us)
    archive, name, known_until_us = past(options)
    spans, whole = parts(archive, policy, options), Tally()
    tell("judge", 0.05)
    for done, tally in enumerate(judged(archive, policy, spans, known_until_us, options.tasks), start=1):
        whole.merge(tally)
        tell("judge", 0.05 + 0.9 * done / len(spans))
    asked = Asked(options.policy.name, _span(options), known_until_us, name)
    decisions = sum(int(cells[Measure.COUNT].sum()) for cells in whole.cells.values()) + whole.apart.total()
    if not decisions:
        raise BacktestError("--from, --to: no decision was made in that time; name a span of the history")
    told = numbers(policy, asked, whole)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in zip(REPORTS, (render.as_json(told), render.markdown(told), render.page(told)), strict=True):
        (options.out / name).write_text(text)
    tell("done", 1.0)
    return {"report": str(options.out / REPORTS[0]), "past": name, "decisions": decisions, "check": told["check"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job as the command line says."""
    started_s = time.monotonic()
    given = parser(prog="python -m training.backtest.job", description=__doc__).parse_args(arguments)
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, logging_level="warning")
    try:
        told = run(Options(**vars(given)))
    except PermanentError as error:
        sys.exit(f"{error.code}: {error.message}")
    took_s = time.monotonic() - started_s
    sys.stdout.write(json.dumps({**told, "seconds": round(took_s, 1)}) + "\n")


if __name__ == "__main__":
    main()
