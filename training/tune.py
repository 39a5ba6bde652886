"""The search for settings as a Ray job: trials by Ray Tune, each a walk through validation weeks.

`python -m training.tune --bundles DIR --params-out FILE [--source FILE --mapping M] [--before DAY]` prints `progress`
lines and, last, one JSON line. The job's test weeks, or all from `--before` on, are never read.
"""

import datetime as dt
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ray
from ray import tune
from ray.tune.search import BasicVariantGenerator

from tidegate.errors import PermanentError
from tidegate.limits import DAY_US
from tidegate.trees import Floats
from training.dataset import Events
from training.job import learnt_from, tell
from training.options import ROOT, FitSettings, Options, parser
from training.search import METRIC, SPACE, before, dumped, tried
from training.walk import Week, weeks

_EPOCH: Final = dt.date(1970, 1, 1)
_SEARCH: Final = 0.35  # the part of the job that is over when the trials begin


def until_us(options: Options, events: Events) -> int:
    """Return where the search has to stop: at the first week that models would be tested on."""
    if options.before is not None:
        return (options.before - _EPOCH).days * DAY_US
    return weeks(events, options.weeks)[0].start_us


def trial(
    config: dict[str, Any], *, events: Events, vectors: Floats, chosen: tuple[Week, ...], settings: FitSettings
) -> None:
    """Try some settings; Ray Tune calls it in a worker that all trials share."""
    tune.report(tried(events, vectors, chosen, replace(settings, **config)))


class _Told(tune.Callback):  # type: ignore[misc]
    """Tells how many trials are done."""

    def __init__(self, trials: int) -> None:
        self._trials, self._done = trials, 0

    def on_trial_complete(self, **_told: Any) -> None:  # noqa: ANN401 - Ray Tune's own
        self._done += 1
        tell("trials", _SEARCH + (1 - _SEARCH) * self._done / self._trials)


def search(options: Options, scratch: Path) -> dict[str, Any]:
    """Do the whole search, write what it found, and return it.

    The first trial is the settings in use, so that what is found is never worse than they are on these weeks.

    Raises:
        DatasetError: the payments can't be read, or are too few before the test weeks.
    """
    tell("data", 0.0)
    every, vectors_of = learnt_from(options, scratch)
    seen = before(every, until_us(options, every))
    chosen = weeks(seen, options.weeks)
    tell("features", 0.2)
    settings = options.settings()
    vectors = vectors_of(seen)
    tell("trials", _SEARCH)
    results = _tuned(options, scratch, events=seen, vectors=vectors, chosen=chosen, settings=settings)
    best, first = results.get_best_result(METRIC, "max"), next(r for r in results if r.config == _as_tried(settings))
    found = {
        METRIC: best.metrics[METRIC],
        f"{METRIC}_before": first.metrics[METRIC],
        "trials": len(results),
        "seed": options.seed,
        "weeks": [str(_EPOCH + dt.timedelta(week.start_us // DAY_US)) for week in chosen],
    }
    better = replace(settings, **best.config)
    if options.params_out is not None:
        options.params_out.write_text(dumped(better, found))
    return {"params": str(options.params_out), "parameters": best.config, **found}


def _as_tried(settings: FitSettings) -> dict[str, float]:
    return {name: getattr(settings, name) for name in SPACE}


def _tuned(options: Options, scratch: Path, **given: Any) -> tune.ResultGrid:  # noqa: ANN401 - of `trial`
    """Run the trials one after another in one worker: starting a second would take longer than a small fit."""
    tuner = tune.Tuner(
        tune.with_parameters(trial, **given),
        param_space={name: tune.choice(list(values)) for name, values in SPACE.items()},
        tune_config=tune.TuneConfig(
            num_samples=options.trials,
            reuse_actors=True,
            search_alg=BasicVariantGenerator(
                points_to_evaluate=[_as_tried(given["settings"])], max_concurrent=1, random_state=options.seed
            ),
        ),
        run_config=tune.RunConfig(storage_path=str(scratch), verbose=0, callbacks=[_Told(options.trials)]),
    )
    results = tuner.fit()
    for error in results.errors:
        raise error
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the search as the command line says."""
    started_s, today = time.monotonic(), dt.datetime.now(dt.UTC).date()
    options = Options(**vars(parser(today, prog="python -m training.tune", description=__doc__).parse_args(arguments)))
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-tune-") as scratch:
            told = search(options, Path(scratch))
    except PermanentError as error:
        sys.exit(f"{error.code}: {error.message}")
    sys.stdout.write(json.dumps({**told, "seconds": round(time.monotonic() - started_s, 1)}) + "\n")


if __name__ == "__main__":
    main()
