"""Submits a training or a search for settings to a Ray cluster, for `tidegate train` and `tune` and for schedules.

`python -m training.submit --address http://127.0.0.1:8265 --bundles DIR ...` takes the job's own options. The job's id
follows from what it would do, so that the same call twice is one job. RAY_AUTH_TOKEN authorises. `--check` only says
whether such a job would be taken: better known before a cluster is started for it.
"""

import datetime as dt
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tidegate import __version__
from tidegate.errors import PermanentError, TemporaryError
from tidegate.features.declarations import FINGERPRINT
from training.archive import PinnedArchive
from training.champion import active_id
from training.options import SYNTH, Options, parser
from training.submission import JobError, run, where


def resolved(options: Options) -> Options:
    """Return the options with full paths and the archive's version: the job runs in another folder, and later.

    Raises:
        JobError: a file isn't there.
        ArchiveError: the archive isn't there, or not in that version any more.
    """
    named = ("bundles", "mapping", "params", "params_out", "policy")
    paths = {name: path.resolve() for name in named if (path := getattr(options, name)) is not None}
    source = options.source if options.source == SYNTH else str(Path(options.source).resolve())
    read = {
        "--mapping": paths["mapping"],
        "--source": Path(source),
        "--params": paths.get("params"),
        "--policy": paths.get("policy"),
    }
    for name, path in read.items():
        if path is not None and str(path) != SYNTH and not path.is_file():
            raise JobError(f"{name}: {path} is no file")
    out = paths.get("params_out")
    if out is not None and not out.parent.is_dir():
        raise JobError(f"--params-out: {out.parent} is no folder")
    archive = None if options.archive is None else str(PinnedArchive.of(options.archive))
    return replace(options, source=source, archive=archive, **paths)


def command(options: Options) -> list[str]:
    """Return the job's arguments."""
    given = {name: value for name, value in asdict(options).items() if value is not None}
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def submission_id(options: Options) -> str:
    """Return the job's id: equal data, mapping, options, champion, features and code give equal ids."""
    rival = active_id(options.bundles) or ""
    digest = hashlib.sha256("\0".join([__version__, FINGERPRINT, rival, *command(options)]).encode())
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    data = [] if options.source == SYNTH else [Path(options.source)]
    found = [path for path in (options.params, options.policy) if path is not None]
    for path in (*sources, options.mapping, *found, *data):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    kind = "train" if options.params_out is None else "tune"
    return f"{kind}-{digest.hexdigest()[:16]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Submit, follow, print the result; end with 1 and the reason on stderr where there is none."""
    today = dt.datetime.now(dt.UTC).date()
    usage = "%(prog)s --bundles DIR [options]; --help shows them"
    made = parser(today, prog="python -m training.submit", usage=usage, description=__doc__, parents=[where()])
    made.add_argument("--check", action="store_true", help="only say whether such a job would be taken")
    given = vars(made.parse_args(arguments))
    address, deadline_s, only_check = given.pop("address"), given.pop("deadline_s"), given.pop("check")
    try:
        options = resolved(Options(**given))
        options.settings()
        options.terms()
        if only_check:
            return
        job = submission_id(options)
        module, result = ("training.job", "bundle") if options.params_out is None else ("training.tune", "params")
        run(address, deadline_s, job, module, command(options), result=result, anew=False)
    except (PermanentError, TemporaryError) as error:
        sys.exit(f"{error.code}: {error.message}")


if __name__ == "__main__":
    main()
