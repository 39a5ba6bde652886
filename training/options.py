"""What a training job is asked to do, as values and as a command line; light, for those who only submit it."""

import argparse
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SYNTH: Final = "synth"
ROOT: Final = Path(__file__).resolve().parents[1]
_SYNTH_MAPPING: Final = ROOT / "configs" / "datasets" / "synth.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to boost.

    256 bins would starve the rare tails of label-based features; a base score of one half suits rare frauds better
    than their share; a second thread that waits for its turn costs more than it does beside a busy gate.
    """

    trees: int = 110
    depth: int = 5
    eta: float = 0.1
    bins: int = 1_024
    rows_part: float = 0.8
    columns_part: float = 0.5
    child_weight: float = 5.0
    shrink: float = 5.0
    threads: int = 1
    seed: int = 7

    def parameters(self) -> dict[str, float | int | str]:
        """Return XGBoost's parameters."""
        return {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "base_score": 0.5,
            "max_bin": self.bins,
            "max_depth": self.depth,
            "eta": self.eta,
            "subsample": self.rows_part,
            "colsample_bytree": self.columns_part,
            "min_child_weight": self.child_weight,
            "reg_lambda": self.shrink,
            "nthread": self.threads,
            "seed": self.seed,
        }


_FIT: Final = FitSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a job is asked to do; the generator's options don't matter to a recorded source."""

    bundles: Path
    source: str = SYNTH
    mapping: Path = _SYNTH_MAPPING
    days: int = 60
    cards: int = 2_000
    seed: int = 7
    until: dt.date
    workers: int = 0
    threads: int = _FIT.threads
    trees: int = _FIT.trees
    weeks: int = 4

    def settings(self) -> FitSettings:
        """Return how to fit."""
        return FitSettings(trees=self.trees, threads=self.threads, seed=self.seed)


def parser(today: dt.date, **given: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    """Return a parser of `Options`; generated payments end with the day before `today` where nothing else is said."""
    made = argparse.ArgumentParser(**given)
    made.add_argument("--bundles", type=Path, required=True, help="folder that the bundle is put in")
    made.add_argument("--source", default=SYNTH, help="Parquet or CSV file of payments, or `synth` to generate them")
    made.add_argument("--mapping", type=Path, default=_SYNTH_MAPPING, help="TOML that says which column is what")
    made.add_argument("--until", type=dt.date.fromisoformat, default=today, help="synth: the day after the last")
    made.add_argument("--workers", type=int, default=0, help="Ray Train workers; 0 trains in the job's own process")
    helps = {
        "days": "synth: days of payments",
        "cards": "synth: cards",
        "seed": "of generator, fit and proof",
        "threads": "of one worker; more than one pays on a machine with nothing else to do",
        "trees": "in the model",
        "weeks": "to test on, one model each; the newest is kept",
    }
    for name, text in helps.items():
        made.add_argument(f"--{name}", type=int, default=Options.__dataclass_fields__[name].default, help=text)
    return made
