"""Submits a backtest to a Ray cluster and follows it, for `tidegate backtest`.

`python -m training.backtest.submit --address http://127.0.0.1:8265 --history DIR ...` takes the job's own options. The
job's id follows from policy, history and code, so that the same call twice is one job. RAY_AUTH_TOKEN authorises.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tidegate import __version__
from tidegate.errors import PermanentError, TemporaryError
from tidegate.features.declarations import FINGERPRINT
from training.archive import PinnedArchive
from training.backtest.options import MANIFEST, REPORTS, Options, command, parser
from training.backtest.ports import BacktestError
from training.submission import run, where


def resolved(options: Options) -> Options:
    """Return the options with full paths and the archive's version: the job runs in another folder, and later.

    Raises:
        BacktestError: a file isn't there.
        ArchiveError: the archive isn't there, or not in that version any more.
    """
    named = ("history", "policy", "out")
    paths = {name: path.resolve() for name in named if (path := getattr(options, name)) is not None}
    for name, path in _read(paths).items():
        if not path.is_file():
            raise BacktestError(f"{name}: {path} is no file")
    archive = None if options.archive is None else str(PinnedArchive.of(options.archive))
    return replace(options, **paths, archive=archive)


def _read(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that the job reads beside an archive, by the option that names them."""
    files = {"--policy": paths["policy"]}
    return files | ({"--history": paths["history"] / MANIFEST} if "history" in paths else {})


def submission_id(options: Options) -> str:
    """Return the job's id: equal policy, history or version of the archive, options and code give equal ids."""
    digest = hashlib.sha256("\0".join([__version__, FINGERPRINT, *command(options)]).encode())
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    history = [] if options.history is None else [options.history / MANIFEST]
    for path in (*sources, options.policy, *history):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"backtest-{digest.hexdigest()[:16]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Submit, follow, print the result; end with 1 and the reason on stderr where there is none."""
    made = parser(prog="python -m training.backtest.submit", description=__doc__, parents=[where()])
    given = vars(made.parse_args(arguments))
    address, deadline_s = given.pop("address"), given.pop("deadline_s")
    try:
        options = resolved(Options(**given))
        job, anew = submission_id(options), not all((options.out / name).is_file() for name in REPORTS)
        run(address, deadline_s, job, "training.backtest.job", command(options), result="report", anew=anew)
    except (PermanentError, TemporaryError) as error:
        sys.exit(f"{error.code}: {error.message}")


if __name__ == "__main__":
    main()
