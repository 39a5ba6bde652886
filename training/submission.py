"""Submits a job to a Ray cluster and follows it: what every job of this house needs for that.

A job's id follows from what it would do, so that the same call twice is one job.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from tidegate.errors import PermanentError, TemporaryError
from tidegate.limits import SUBMIT_ATTEMPTS_MAX, SUBMIT_PAUSE_S
from training.options import ROOT

_POLL_S: Final = 0.2
_LINES_SHOWN: Final = 20
_FAILED: Final = frozenset({JobStatus.FAILED, JobStatus.STOPPED})


class JobError(PermanentError):
    """A job failed; the message holds the end of what it printed."""

    code = "JOB_FAILED"


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


def submit(client: JobSubmissionClient, job: str, module: str, arguments: Sequence[str], *, anew: bool = False) -> None:
    """Submit a job that runs a module, or find it submitted; one that failed or was stopped is submitted anew.

    `anew` submits one that has succeeded again: what it made is gone.

    A cluster that has just come up refuses jobs until its job agent has: it is asked again.

    Raises:
        TemporaryError: it refuses them for too long.
    """
    known = {info.submission_id: info.status for info in client.list_jobs()}
    if known.get(job) in _FAILED or (anew and known.get(job) is JobStatus.SUCCEEDED):
        client.delete_job(job)
    elif job in known:
        return
    entrypoint = shlex.join([sys.executable, "-m", module, *arguments])
    said = ""
    for _ in range(SUBMIT_ATTEMPTS_MAX):
        try:
            client.submit_job(entrypoint=f"cd {shlex.quote(str(ROOT))} && exec {entrypoint}", submission_id=job)
        except RuntimeError as error:
            said = str(error).strip().rpartition("\n")[2]
        if any(info.submission_id == job for info in client.list_jobs()):
            return  # submitted now, or by another caller at the same moment
        threading.Event().wait(SUBMIT_PAUSE_S)
    raise TemporaryError(f"{job}: Ray takes no job ({said}); try again, or look at its dashboard")


async def follow(client: JobSubmissionClient, job: str, result: str) -> str:
    """Print the job's progress until it ends; return its last line that is a JSON object with a field `result`.

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
    return _result(told, job, result)


def _result(told: Sequence[str], job: str, result: str) -> str:
    for line in reversed(told):
        with contextlib.suppress(json.JSONDecodeError):
            if isinstance(found := json.loads(line), dict) and result in found:
                return line
    raise JobError(f"{job} ended without a result; read it: ray job logs {job}")


async def _within(deadline_s: float, client: JobSubmissionClient, job: str, result: str) -> str:
    try:
        async with asyncio.timeout(deadline_s):
            return await follow(client, job, result)
    except TimeoutError as error:
        raise TemporaryError(f"{job} still runs after {deadline_s:.0f} s; the same call follows it again") from error
    except (RuntimeError, ConnectionError) as error:
        told = str(error).partition("\n")[0]
        raise TemporaryError(f"{job}: lost sight of it ({told}); the same call follows it again") from error


def run(
    address: str, deadline_s: float, job: str, module: str, arguments: Sequence[str], *, result: str, anew: bool
) -> None:
    """Submit a job, follow it and print its result; see `submit` and `follow`. RAY_AUTH_TOKEN authorises.

    Raises:
        JobError: it failed or was stopped.
        TemporaryError: the cluster doesn't answer, or the job takes longer than the deadline, and goes on.
    """
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # how its socket closes is no news
    client = connect(address, os.environ)
    submit(client, job, module, arguments, anew=anew)
    sys.stderr.write(f"job {job}\n")
    sys.stdout.write(asyncio.run(_within(deadline_s, client, job, result)) + "\n")


def where() -> argparse.ArgumentParser:
    """Return the options that say which cluster, and how long to follow."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--address", default="http://127.0.0.1:8265", help="of the cluster's dashboard")
    made.add_argument("--deadline-s", type=float, default=600.0, help="how long to follow the job, in seconds")
    return made
