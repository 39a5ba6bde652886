"""Submits a training or a search for settings to a Ray cluster, for `tidegate train` and `tune` and for schedules.

`python -m training.submit --address http://127.0.0.1:8265 --bundles DIR ...` takes the job's own options. The job's id
follows from what it would do, so that the same call twice is one job. RAY_AUTH_TOKEN authorises.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import logging
import os
import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from tidegate import __version__
from tidegate.errors import PermanentError, TemporaryError
from tidegate.features.declarations import FINGERPRINT
from tidegate.limits import SUBMIT_ATTEMPTS_MAX, SUBMIT_PAUSE_S
from training.champion import active_id
from training.options import ROOT, SYNTH, Options, parser

_POLL_S: Final = 0.2
_LINES_SHOWN: Final = 20
_FAILED: Final = frozenset({JobStatus.FAILED, JobStatus.STOPPED})


class JobError(PermanentError):
    """The training job failed; the message holds the end of what it printed."""

    code = "TRAINING_FAILED"


def resolved(options: Options) -> Options:
    """Return the options with full paths: the job runs in another folder.

    Raises:
        JobError: a file isn't there.
    """
    named = ("bundles", "mapping", "params", "params_out")
    paths = {name: path.resolve() for name in named if (path := getattr(options, name)) is not None}
    source = options.source if options.source == SYNTH else str(Path(options.source).resolve())
    read = {"--mapping": paths["mapping"], "--source": Path(source), "--params": paths.get("params")}
    for name, path in read.items():
        if path is not None and str(path) != SYNTH and not path.is_file():
            raise JobError(f"{name}: {path} is no file")
    return replace(options, source=source, **paths)


def command(options: Options) -> list[str]:
    """Return the job's arguments."""
    given = {name: value for name, value in asdict(options).items() if value is not None}
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def submission_id(options: Options) -> str:
    """Return the job's id: equal source, mapping, options, champion, features and code give equal ids."""
    rival = active_id(options.bundles) or ""
    digest = hashlib.sha256("\0".join([__version__, FINGERPRINT, rival, *command(options)]).encode())
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    data = [] if options.source == SYNTH else [Path(options.source)]
    found = [] if options.params is None else [options.params]
    for path in (*sources, options.mapping, *found, *data):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    kind = "train" if options.params_out is None else "tune"
    return f"{kind}-{digest.hexdigest()[:16]}"


def connect(address: str, environment: Mapping[str, str]) -> JobSubmissionClient:
    """Return a client of the cluster whose dashboard has this address.

    Raises:
        TemporaryError: nobody answers there, or the token isn't that cluster's.
    """
    token = environment.get("RAY_AUTH_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else None
    try:
        client = JobSubmissionClient(address, headers=headers)
        client.get_version()
    except (ConnectionError, RuntimeError, AuthenticationError) as error:
        told = str(error).partition("\n")[0]
        raise TemporaryError(f"--address: no Ray at {address}, or RAY_AUTH_TOKEN isn't its token ({told})") from error
    return client


def submit(client: JobSubmissionClient, options: Options) -> str:
    """Submit the job, or find it submitted; one that failed or was stopped is submitted anew. Return its id.

    A cluster that has just come up refuses jobs until its job agent has: it is asked again.

    Raises:
        TemporaryError: it refuses them for too long.
    """
    job = submission_id(options)
    known = {info.submission_id: info.status for info in client.list_jobs()}
    if known.get(job) in _FAILED:
        client.delete_job(job)
    elif job in known:
        return job
    module = "training.job" if options.params_out is None else "training.tune"
    entrypoint = shlex.join([sys.executable, "-m", module, *command(options)])
    said = ""
    for _ in range(SUBMIT_ATTEMPTS_MAX):
        try:
            client.submit_job(entrypoint=f"cd {shlex.quote(str(ROOT))} && exec {entrypoint}", submission_id=job)
        except RuntimeError as error:
            said = str(error).strip().rpartition("\n")[2]
        if any(info.submission_id == job for info in client.list_jobs()):
            return job  # submitted now, or by another caller at the same moment
        threading.Event().wait(SUBMIT_PAUSE_S)
    raise TemporaryError(f"{job}: Ray takes no job ({said}); try again, or look at its dashboard")


async def follow(client: JobSubmissionClient, job: str) -> str:
    """Print the job's progress until it ends; return its last line, a JSON object.

    Raises:
        JobError: it failed or was stopped.
    """
    told: list[str] = []
    async for text in client.tail_job_logs(job):
        for line in text.splitlines():
            told.append(line)
            if line.startswith("progress "):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
    while not (status := client.get_job_status(job)).is_terminal():  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(_POLL_S)
    if status is not JobStatus.SUCCEEDED:
        end = "\n".join(told[-_LINES_SHOWN:])
        raise JobError(f"{job} {status.value}: {client.get_job_info(job).message}\n{end}")
    return _result(told, job)


def _result(told: Sequence[str], job: str) -> str:
    for line in reversed(told):
        with contextlib.suppress(json.JSONDecodeError):
            if isinstance(found := json.loads(line), dict) and {"bundle", "params"} & set(found):
                return line
    raise JobError(f"{job} ended without a result; read it: ray job logs {job}")


async def _within(deadline_s: float, client: JobSubmissionClient, job: str) -> str:
    try:
        async with asyncio.timeout(deadline_s):
            return await follow(client, job)
    except TimeoutError as error:
        raise TemporaryError(f"{job} still runs after {deadline_s:.0f} s; the same call follows it again") from error
    except (RuntimeError, ConnectionError) as error:
        told = str(error).partition("\n")[0]
        raise TemporaryError(f"{job}: lost sight of it ({told}); the same call follows it again") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Submit, follow, print the result; end with 1 and the reason on stderr where there is none."""
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # how its socket closes is no news
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--address", default="http://127.0.0.1:8265", help="of the cluster's dashboard")
    own.add_argument("--deadline-s", type=float, default=600.0, help="how long to follow the job, in seconds")
    today = dt.datetime.now(dt.UTC).date()
    made = parser(today, prog="python -m training.submit", description=__doc__, parents=[own])
    given = vars(made.parse_args(arguments))
    address, deadline_s = given.pop("address"), given.pop("deadline_s")
    try:
        options = resolved(Options(**given))
        client = connect(address, os.environ)
        job = submit(client, options)
        sys.stderr.write(f"job {job}\n")
        result = asyncio.run(_within(deadline_s, client, job))
    except (PermanentError, TemporaryError) as error:
        sys.exit(f"{error.code}: {error.message}")
    sys.stdout.write(f"{result}\n")


if __name__ == "__main__":
    main()
