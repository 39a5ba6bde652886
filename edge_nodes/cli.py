"""The command line of a site: `tidegate up`, `run`, `replay`, `journal`, `decision`."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from actors.journal.disk import PosixDisk
from actors.journal.report import show_lines, verify_lines
from actors.journal.verify import verify
from edge_nodes import decisions
from edge_nodes.loading import Configs, load
from edge_nodes.node import Site, site
from tidegate.errors import TidegateError
from tidegate.records import Lane

_LINE_S: Final = 1.0

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
journal_app = typer.Typer(no_args_is_help=True, help="Prove and read a journal; never writes.")
app.add_typer(journal_app, name="journal")
app.add_typer(decisions.app, name="decision")


def _say(text: str) -> None:
    typer.echo(text)


def _ask(running: Site, path: str) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(running.url + path, headers={"Authorization": f"Bearer {running.key}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the site's own door
        return json.load(answer)


def _line(live: dict[str, Any], before: int) -> tuple[str, int]:
    outcomes: dict[str, int] = live["outcomes"]
    total = sum(outcomes.values())
    counts = "  ".join(f"{name} {count}" for name, count in outcomes.items())
    return f"{total - before:6d} decisions/s  p50 {live['p50_ms']} ms  p99 {live['p99_ms']} ms  {counts}", total


def _watch(running: Site, stream: "subprocess.Popen[bytes]") -> None:
    """Print a line a second until the stream ends."""
    before = 0
    while True:
        try:
            stream.wait(timeout=_LINE_S)
        except subprocess.TimeoutExpired:
            text, before = _line(_ask(running, "/v1/live"), before)
            _say(text)
        else:
            break


@app.command()
def up(
    config: Configs = None,
    rate: Annotated[int, typer.Option(min=1, max=5000, help="payments a second to send")] = 200,
    seconds: Annotated[float, typer.Option(min=0, help="how long; 0 is until Ctrl-C")] = 0,
) -> None:
    """Start a site, train its first model if it has none, and watch it decide a live stream."""
    settings = load(config)
    with site(settings, _say) as running:
        _say(f"live page: {running.url}/#key={running.key}")
        key_file = Path(settings.data_dir) / "demo.key"
        command = [sys.executable, "-m", "training.stream", "--url", running.url, "--key-file", str(key_file)]
        limits = ["--rate", str(rate), "--cards", "20000", *(["--seconds", str(seconds)] if seconds else [])]
        stream = subprocess.Popen(  # noqa: S603 - our own module
            [*command, *limits], env=running.environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _watch(running, stream)
        except KeyboardInterrupt:
            _say("")
        finally:
            stream.terminate()
            stream.wait()


@app.command()
def run(config: Configs = None) -> None:
    """Run a site until it is told to stop (SIGINT)."""
    with site(load(config), _say) as running:
        _say(f"door: {running.url}")
        try:
            running.gate.wait()
        except KeyboardInterrupt:
            _say("")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(context: typer.Context, address: Annotated[str, typer.Option(help="of the Ray dashboard")]) -> None:
    """Train a model as a Ray job on a running cluster; further options are the job's own (--help after --)."""
    command = [sys.executable, "-m", "training.submit", "--address", address, *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own module


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV of recorded payments")],
    mapping: Annotated[Path, typer.Option(help="TOML that says which column is what")],
    to: Annotated[str, typer.Option(help="address of the site's door")],
    key_file: Annotated[Path, typer.Option(help="file that holds an API key")],
    speed: Annotated[float, typer.Option(min=0, help="times faster than recorded; 0 is as fast as it goes")] = 0,
) -> None:
    """Send recorded payments to a site, with a progress bar and a report."""
    command = [sys.executable, "-m", "training.stream", "--file", str(file), "--mapping", str(mapping)]
    target = ["--url", to, "--key-file", str(key_file), "--speed", str(speed), "--progress"]
    raise typer.Exit(subprocess.run([*command, *target], check=False).returncode)  # noqa: S603 - our own module


@journal_app.command("verify")
def journal_verify(folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Check every byte of a journal: checksums, sequences, chains. Exits with 1 where something is wrong."""
    report = verify(PosixDisk(folder))
    for line in verify_lines(report):
        _say(line)
    raise typer.Exit(0 if report.ok else 1)


@journal_app.command("show")
def journal_show(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    lane: Annotated[int | None, typer.Option(min=0, max=3)] = None,
    from_pos: Annotated[int, typer.Option("--from", min=1)] = 1,
    limit: Annotated[int, typer.Option(min=1)] = 100,
) -> None:
    """Print records, a line each."""
    wanted = None if lane is None else Lane(lane)
    for line in show_lines(PosixDisk(folder), lane=wanted, from_pos=from_pos, limit=limit):
        _say(line)


def main() -> None:
    """Run a command; what goes wrong is told in a sentence."""
    try:
        app()
    except TidegateError as error:
        sys.exit(f"tidegate: {error.message}")


if __name__ == "__main__":
    main()
