"""The training job: payments in, a bundle on the shelf out. `training.submit` and plain `ray job submit` both run it.

`python -m training.job --bundles DIR [--source FILE --mapping M]` prints `progress` lines and, last, one JSON line.
"""

import datetime as dt
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow.parquet as pq
import ray
import ray.train
from ray.train.xgboost import XGBoostTrainer

from tidegate.bundle import DataVersion, decode
from tidegate.clock import Clock, SystemClock
from tidegate.errors import PermanentError
from tidegate.limits import DAY_US
from tidegate.policy.terms import Policy
from tidegate.trees import Floats
from training.archive import PinnedArchive
from training.card import Facts, named_gains, render
from training.champion import Champion, champion
from training.dataset import Events, features, load_mapping, read
from training.drift import profile, stability
from training.due import due
from training.evaluate import Walk, by_segment, measured, scored, walk
from training.fit import Fitted, Progress, boost, refit
from training.gate import comparable, judge
from training.metrics import Estimates, Scored, Targets
from training.options import ROOT, SYNTH, FitSettings, Options, parser
from training.package import Judged, assemble, write
from training.served import served
from training.synth import SynthConfig, generate
from training.walk import Settled, settled, span_us, weeks

_EPOCH: Final = dt.date(1970, 1, 1)


def tell(step: str, done: float) -> None:
    """Print one line of progress; `done` is the part of the whole job."""
    sys.stdout.write(f"progress step={step} done={done:.2f}\n")
    sys.stdout.flush()


def payments(options: Options, scratch: Path) -> Events:
    """Return the payments to learn from; generated ones pass through the reader of recorded ones.

    Raises:
        DatasetError: file and mapping don't fit.
    """
    source = Path(options.source)
    if options.source == SYNTH:
        source = scratch / "synth.parquet"
        start_us = ((options.until - _EPOCH).days - options.days) * DAY_US
        config = SynthConfig(seed=options.seed, days=options.days, cards=options.cards, start_us=start_us)
        pq.write_table(generate(config), source)
    return read(source, load_mapping(options.mapping))


def learnt_from(options: Options, scratch: Path) -> tuple[Events, Callable[[Events], Floats]]:
    """Return the payments to learn from, and what gives the features of them, or of the first of them.

    Of an archive they are those that were served; of other payments the kernel makes them.

    Raises:
        DatasetError: the payments can't be read.
        ArchiveError: the archive isn't there, or not in that version any more.
    """
    if options.archive is not None:
        events, vectors = served(PinnedArchive.of(options.archive), span_us(options.weeks))
        return events, lambda seen: vectors[: len(seen)]
    return payments(options, scratch), features


def boost_in_ray(
    rows: Floats, target: Targets, settings: FitSettings, *, progress: Progress, workers: int, scratch: Path
) -> bytes:
    """Boost inside Ray Train, each worker on every n-th row; without workers in this process.

    The booster is the loop's return value: a checkpoint reported in this process points to a folder already deleted.
    """

    def loop() -> bytes:
        context = ray.train.get_context()
        part = slice(context.get_world_rank(), None, context.get_world_size())
        return boost(rows[part], target[part], settings, progress)

    trainer = XGBoostTrainer(
        loop,
        scaling_config=ray.train.ScalingConfig(num_workers=workers),
        run_config=ray.train.RunConfig(storage_path=str(scratch)),
    )
    booster: bytes = trainer.fit().return_value
    return booster


def data_version(options: Options, events: Events, vectors: Floats, learnt: Settled) -> DataVersion:
    """Return what the model learnt from, and the digest of it."""
    index, target = learnt.rows.index, learnt.rows.target
    return DataVersion(
        source=named(options),
        first_us=int(events.occurred_us[0]),
        cut_us=learnt.end_us,
        rows=len(index),
        frauds=int(target.sum()),
        sha256=hashlib.sha256(vectors[index].tobytes() + target.tobytes()).hexdigest(),
    )


def named(options: Options) -> str:
    """Return what a model card calls the payments: a version of an archive, a file, or how they were generated."""
    if options.archive is not None:
        return PinnedArchive.of(options.archive).name
    if options.source == SYNTH:
        return f"{SYNTH} seed={options.seed} days={options.days} cards={options.cards} until={options.until}"
    return Path(options.source).name


def files(
    fitted: Fitted,
    rows: Floats,
    data: DataVersion,
    found: Estimates,
    judged: Judged,
    policy: Policy,
    *,
    now_us: int,
    seed: int,
) -> dict[str, bytes]:
    """Return the bundle's files, proven on `rows`."""
    return assemble(
        booster=fitted.booster,
        rows=rows,
        calibration=fitted.calibration,
        data=data,
        metrics={name: estimate.value for name, estimate in found.items()},
        parameters=fitted.parameters,
        policy=policy,
        trained_at_us=now_us,
        seed=seed,
        judged=judged,
    )


Rival: TypeAlias = tuple[Champion, list[Scored]] | None
"""The shelf's champion with its scores, None for a first model."""


def challenge(options: Options, events: Events, vectors: Floats, made: Walk, source: str) -> Rival:
    """Return the shelf's champion with its scores of the weeks that it hasn't learnt from; None for a first model."""
    before = champion(options.bundles)
    if before is None:
        return None
    chosen = [made.weeks[at] for at in comparable(before, source, made.weeks)]
    if before.bundle is None or not chosen:
        return before, []
    table = before.bundle.manifest.calibration
    return before, [scored(events, vectors, week, before.margins, table, options.terms()) for week in chosen]


def run(options: Options, scratch: Path, clock: Clock) -> dict[str, Any]:
    """Do the whole job and return what is to be known of the bundle; there is none where none was due.

    Raises:
        DatasetError: the payments can't be read, or are too few.
        ArchiveError: the archive isn't there, or not in that version any more.
        BundleError: the packed trees differ from XGBoost.
    """
    options.settings(), options.terms()  # a wrong file is known before the long way
    tell("data", 0.0)
    events, vectors_of = learnt_from(options, scratch)
    tell("features", 0.25)
    vectors = vectors_of(events)
    asked = asked_for(options, events, vectors)
    if asked == ():
        tell("done", 1.0)
        return {"bundle": None, "due": asked}
    made = walked(options, events, vectors)
    tell("measure", 0.70)
    found = measured(made.scored, options.seed)
    rest = settled(events)
    data = data_version(options, events, vectors, rest)
    rival = challenge(options, events, vectors, made, data.source)
    verdict = judge(found, made.scored, rival, options.seed)
    fitted = kept(options, vectors, rest, scratch)
    tell("package", 0.95)
    learnt = vectors[rest.rows.index]
    judged = Judged(
        gate=verdict,
        intervals={name: (each.low, each.high) for name, each in found.items()},
        profile=profile(learnt, fitted.margins(learnt)),
    )
    tested = np.ascontiguousarray(vectors[made.weeks[-1].test.index])
    parts = files(fitted, tested, data, found, judged, options.terms(), now_us=clock.now_us(), seed=options.seed)
    bundle = write({**parts, **card_files(parts, events, made, fitted, learnt, found, rival)}, options.bundles)
    tell("done", 1.0)
    told = {name: estimate.value for name, estimate in found.items()}
    gate = {"passed": verdict.passed, "reasons": verdict.reasons}
    return {
        "bundle": bundle,
        "due": asked or (),
        "gate": gate,
        "metrics": told,
        "rows": data.rows,
        "frauds": data.frauds,
    }


def asked_for(options: Options, events: Events, vectors: Floats) -> tuple[str, ...] | None:
    """Return what asks for a training; None where a person does, whatever else."""
    if options.if_due is None:
        return None
    return due(events, vectors, champion(options.bundles), every_us=options.if_due * DAY_US)


def card_files(
    parts: Mapping[str, bytes],
    events: Events,
    made: Walk,
    fitted: Fitted,
    learnt: Floats,
    found: Estimates,
    rival: Rival,
) -> dict[str, bytes]:
    """Return the model card's files."""
    packed = decode(parts)
    before = rival[0].bundle if rival else None
    spread = (before.manifest.profile if before else None) or {}
    facts = Facts(
        bundle=packed.id,
        manifest=packed.manifest,
        found=found,
        weeks=made.scored,
        segments=by_segment(events, made.scored),
        gains=named_gains(fitted.booster.get_score(importance_type="total_gain")),
        drift=stability(spread, learnt, rival[0].margins(learnt)) if rival and spread else {},
        rival=rival[0].id if rival else None,
        rival_weeks=rival[1] if rival else (),
    )
    return render(facts)


def walked(options: Options, events: Events, vectors: Floats) -> Walk:
    """Make and score a model for each test week."""
    chosen = weeks(events, options.weeks)
    first, step = 0.30, 0.40 / len(chosen)
    tell("fit", first)
    return walk(
        events,
        vectors,
        chosen,
        options.settings(),
        policy=options.terms(),
        heard=lambda done: tell("fit", first + step * done),
    )


def kept(options: Options, vectors: Floats, rest: Settled, scratch: Path) -> Fitted:
    """Make the model that stays, inside Ray Train."""
    tell("refit", 0.80)
    train = partial(
        boost_in_ray,
        progress=lambda part: tell("refit", 0.80 + 0.15 * part),
        workers=options.workers,
        scratch=scratch,
    )
    return refit(vectors, rest, options.settings(), train)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job as the command line says."""
    started_s, today = time.monotonic(), dt.datetime.now(dt.UTC).date()
    given = parser(today, prog="python -m training.job", description=__doc__).parse_args(arguments)
    options = Options(**vars(given))
    if options.workers:
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-train-") as scratch:
            told = run(options, Path(scratch), SystemClock())
    except PermanentError as error:
        sys.exit(f"{error.code}: {error.message}")
    sys.stdout.write(json.dumps({**told, "seconds": round(time.monotonic() - started_s, 1)}) + "\n")


if __name__ == "__main__":
    main()
