"""What a backtest is asked to do, as values and as a command line; light, for those who only submit it."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tidegate.limits import BACKTEST_TASKS_MAX

MANIFEST: Final = "manifest.json"
"""Names what a history's folder holds: equal manifests of one site mean equal histories."""
REPORTS: Final = ("report.json", "report.md", "report.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Times are microseconds UTC since 1970; `tasks` is how many run at a time."""

    history: Path
    policy: Path
    out: Path
    from_us: int
    to_us: int
    known_until_us: int
    tasks: int = 2


def command(options: Options) -> list[str]:
    """Return the job's arguments."""
    return [part for name, value in asdict(options).items() for part in (f"--{name.replace('_', '-')}", str(value))]


def parser(**given: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    """Return a parser of `Options`."""
    made = argparse.ArgumentParser(**given)
    made.add_argument("--history", type=Path, required=True, help="folder with the tables of tidegate.history")
    made.add_argument("--policy", type=Path, required=True, help="TOML file of the policy to try")
    made.add_argument("--out", type=Path, required=True, help="folder that the reports are put in")
    made.add_argument("--from-us", type=int, required=True, help="first decision's time, microseconds since 1970")
    made.add_argument("--to-us", type=int, required=True, help="the time behind the last decision's")
    made.add_argument("--known-until-us", type=int, required=True, help="when the history ends, labels included")
    made.add_argument(
        "--tasks", type=int, choices=range(1, BACKTEST_TASKS_MAX + 1), default=2, metavar="N", help="at a time"
    )
    return made
