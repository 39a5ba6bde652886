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
    """Times are microseconds UTC since 1970; `tasks` is how many run at a time.

    The past is a site's `history`, or what an `archive` has of all sites, `FOLDER` or `FOLDER@VERSION`.
    """

    policy: Path
    out: Path
    from_us: int
    to_us: int
    history: Path | None = None
    archive: str | None = None
    known_until_us: int | None = None
    tasks: int = 2


def command(options: Options) -> list[str]:
    """Return the job's arguments."""
    given = {name: value for name, value in asdict(options).items() if value is not None}
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def parser(**given: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    """Return a parser of `Options`."""
    made = argparse.ArgumentParser(**given)
    past = made.add_mutually_exclusive_group(required=True)
    past.add_argument("--history", type=Path, help="folder with the tables of tidegate.history")
    past.add_argument("--archive", help="folder of an archive, and @version where it isn't the newest")
    made.add_argument("--policy", type=Path, required=True, help="TOML file of the policy to try")
    made.add_argument("--out", type=Path, required=True, help="folder that the reports are put in")
    made.add_argument("--from-us", type=int, required=True, help="first decision's time, microseconds since 1970")
    made.add_argument("--to-us", type=int, required=True, help="the time behind the last decision's")
    made.add_argument(
        "--known-until-us", type=int, help="when the history ends, labels included; else the archive says it"
    )
    made.add_argument(
        "--tasks", type=int, choices=range(1, BACKTEST_TASKS_MAX + 1), default=2, metavar="N", help="at a time"
    )
    return made
