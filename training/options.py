"""What a training job is asked to do, as values and as a command line; light, for those who only submit it."""

import argparse
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidegate.errors import PolicyError, SettingsError
from tidegate.limits import (
    JOB_CARDS_MAX,
    JOB_DAYS_MAX,
    JOB_SEED_MAX,
    JOB_THREADS_MAX,
    JOB_WEEKS_MAX,
    TREES_MAX,
    TRIALS_MAX,
)
from tidegate.policy.check import read
from tidegate.policy.terms import Policy

SYNTH: Final = "synth"
ROOT: Final = Path(__file__).resolve().parents[1]
_SYNTH_MAPPING: Final = ROOT / "configs" / "datasets" / "synth.toml"


_BOUNDS: Final = {
    "days": (1, JOB_DAYS_MAX),
    "cards": (1, JOB_CARDS_MAX),
    "seed": (0, JOB_SEED_MAX),
    "threads": (1, JOB_THREADS_MAX),
    "trees": (1, TREES_MAX),
    "weeks": (1, JOB_WEEKS_MAX),
    "if_due": (1, JOB_DAYS_MAX),
}


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
    """What a job is asked to do; the generator's options don't matter to a recorded source, nor that to an archive."""

    bundles: Path
    source: str = SYNTH
    archive: str | None = None
    mapping: Path = _SYNTH_MAPPING
    days: int = 60
    cards: int = 2_000
    seed: int = 7
    until: dt.date
    workers: int = 0
    threads: int = _FIT.threads
    trees: int = _FIT.trees
    weeks: int = 4
    if_due: int | None = None
    params: Path | None = None
    trials: int = 20
    before: dt.date | None = None
    params_out: Path | None = None
    policy: Path | None = None

    def terms(self) -> Policy:
        """Return the policy that the bundle carries, and by whose costs its model is judged.

        Raises:
            PolicyError: its file can't be read, or is no policy.
        """
        if self.policy is None:
            return Policy()
        try:
            return read(str(self.policy), self.policy.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"--policy: {self.policy} can't be read ({error}); name a TOML file") from error

    def settings(self) -> FitSettings:
        """Return how to fit: as `params` says, where it is given.

        Raises:
            SettingsError: its file can't be read, or a value is out of bounds.
        """
        plain = FitSettings(trees=self.trees, threads=self.threads, seed=self.seed)
        return plain if self.params is None else replace(plain, **parameters(self.params))


class _Parameters(BaseModel):
    """What a search may find, within what fits a bundle and a site's budget."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    trees: Annotated[int, Field(ge=1, le=TREES_MAX)] = _FIT.trees
    depth: Annotated[int, Field(ge=1, le=8)] = _FIT.depth
    eta: Annotated[float, Field(gt=0, le=1)] = _FIT.eta
    bins: Annotated[int, Field(ge=1_024, le=8_192)] = _FIT.bins
    rows_part: Annotated[float, Field(gt=0, le=1)] = _FIT.rows_part
    columns_part: Annotated[float, Field(gt=0, le=1)] = _FIT.columns_part
    child_weight: Annotated[float, Field(ge=0)] = _FIT.child_weight
    shrink: Annotated[float, Field(ge=0)] = _FIT.shrink


class _Found(BaseModel):
    """The file that `tidegate tune` writes; how it was found is for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: _Parameters
    found: dict[str, Any] = {}


def parameters(path: Path) -> dict[str, Any]:
    """Return the settings of a file that `tidegate tune` wrote; one by hand may leave some out.

    Raises:
        SettingsError: it can't be read, isn't JSON, or a value is unknown or out of bounds.
    """
    try:
        return _Found.model_validate_json(path.read_bytes()).parameters.model_dump()
    except OSError as error:
        raise SettingsError(f"--params: {path}: {error.strerror}; give the file that `tidegate tune` wrote") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise SettingsError(f"--params: {path}: {field or 'file'}: {first['msg']}; tune again, or mend it") from error


def parser(today: dt.date, **given: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    """Return a parser of `Options`; generated payments end with the day before `today` where nothing else is said."""
    made = argparse.ArgumentParser(**given)
    made.add_argument("--bundles", type=Path, required=True, help="folder that the bundle is put in")
    made.add_argument("--source", default=SYNTH, help="Parquet or CSV file of payments, or `synth` to generate them")
    made.add_argument(
        "--archive", help="folder of an archive, and @version where it isn't the newest: learn from what sites decided"
    )
    made.add_argument("--mapping", type=Path, default=_SYNTH_MAPPING, help="TOML that says which column is what")
    made.add_argument("--until", type=dt.date.fromisoformat, default=today, help="synth: the day after the last")
    made.add_argument("--workers", type=int, default=0, help="Ray Train workers; 0 trains in the job's own process")
    helps = {
        "days": "synth: days of payments",
        "cards": "synth: cards",
        "seed": "of generator, fit and proof",
        "threads": "of one worker; more than one pays on a machine with nothing else to do",
        "trees": "in the model",
        "weeks": "to test on (a search: to try on), one model each",
        "if_due": "train only where that many days have settled since, or the active model no longer fits",
    }
    made.add_argument(
        "--policy", type=Path, help="TOML file of the bundle's policy, whose costs the model is judged by"
    )
    made.add_argument("--params", type=Path, help="settings that a search has found; they win over --trees")
    made.add_argument(
        "--trials",
        type=_within(1, TRIALS_MAX),
        default=Options.__dataclass_fields__["trials"].default,
        help="search: how many settings to try",
    )
    made.add_argument("--before", type=dt.date.fromisoformat, help="search: the first day not to look at")
    made.add_argument("--params-out", type=Path, help="search: the JSON file for what is found")
    for name, text in helps.items():
        made.add_argument(
            f"--{name.replace('_', '-')}",
            type=_within(*_BOUNDS[name]),
            default=Options.__dataclass_fields__[name].default,
            help=text,
        )
    return made


def _within(lowest: int, highest: int) -> Callable[[str], int]:
    """Return what reads a whole number of these bounds."""

    def read(text: str) -> int:
        number = int(text)
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"must be {lowest} to {highest}")
        return number

    read.__name__ = "whole number"  # what argparse calls it where it is none
    return read
