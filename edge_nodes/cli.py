"""The command line of a site.

`tidegate up`, `run`, `doctor`, `train`, `tune`, `backtest`, `archive`, `bundle`, `policy`, `lists`, `replay`,
`decision`, `reasons`, `key`, `site`, `cloud`, `models`, `wan`, `journal`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from actors.gate.activation import golden_of_model
from actors.journal.disk import LOCK, PosixDisk
from actors.journal.layout import epoch_names
from actors.journal.report import show_lines, verify_lines
from actors.journal.verify import verify
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from edge_nodes import backtests, cloudsites, decisions, keyfile, models, policies, sitekey, wan
from edge_nodes.cloud import cloud, cloud_settings
from edge_nodes.doctor import examination
from edge_nodes.doctor.linux import LinuxMachine
from edge_nodes.doctor.site import FolderSite, holder_of
from edge_nodes.loading import Configs, load
from edge_nodes.node import check_job, shelf_of, site, train, training_cluster, tune
from edge_nodes.proof import proof_lines, proven
from edge_nodes.up import PASSED_ON, up
from tidegate.catalogue import markdown
from tidegate.clock import SystemClock, rfc3339
from tidegate.errors import BundleError, NotFoundError, SettingsError, TidegateError, joined
from tidegate.ids import BundleId
from tidegate.policy.check import examine
from tidegate.records import Lane

_DEMO_KEY: Final = Path("var/site-1/demo.key")
_CLOUD: Final = Path("var/cloud")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
journal_app = typer.Typer(no_args_is_help=True, help="Prove and read a journal; never writes.")
app.add_typer(journal_app, name="journal")
app.add_typer(decisions.app, name="decision")
app.add_typer(keyfile.app, name="key")
app.add_typer(sitekey.app, name="site")
app.add_typer(cloudsites.app, name="cloud")
cloudsites.app.add_typer(keyfile.cloud_app, name="key")
app.add_typer(policies.app, name="policy")
app.add_typer(policies.lists_app, name="lists")
app.add_typer(models.app, name="models")
app.add_typer(wan.app, name="wan")
app.command()(backtests.backtest)
app.command(context_settings=PASSED_ON)(up)
bundle_app = typer.Typer(no_args_is_help=True, help="The models that a site holds.")
app.add_typer(bundle_app, name="bundle")


def _say(text: str) -> None:
    typer.echo(text)


@app.command(context_settings=PASSED_ON)
def run(
    context: typer.Context,
    config: Configs = None,
    address: Annotated[
        str | None, typer.Option(help="of a Ray cluster on this machine, with RAY_AUTH_TOKEN; else one is started")
    ] = None,
) -> None:
    """Run a site until it is told to stop (Ctrl-C, SIGTERM); what follows -- goes to the first training."""
    with site(load(config), _say, *context.args, address=address) as running:
        try:
            _say(f"door: {running.url}")
            running.gate.wait(_say)
        except KeyboardInterrupt:
            _say("")


@cloudsites.app.command("run")
def run_cloud(
    data_dir: Annotated[
        Path, typer.Option(help="folder of registry, quarantine, labels, log, archive and keys")
    ] = _CLOUD,
    port: Annotated[int, typer.Option(min=1, max=65535, help="where sites send to, on 127.0.0.1")] = 8500,
    certificate: Annotated[
        Path | None, typer.Option(exists=True, help="PEM file with key and certificate; else an authority of its own")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="TOML file, see configs/cloud; else as for a cloud on one machine")
    ] = None,
) -> None:
    """Run a cloud on this machine until it is told to stop (Ctrl-C, SIGTERM)."""
    with cloud(data_dir, port, certificate, _say, cloud_settings(settings)) as running:
        try:
            _say(f"operator's key: {data_dir}/operator.key")
            if running.authority is not None:
                _say(f"authority: {running.authority}")
            _say(f"archive: {data_dir}/archive")
            _say(f"ingest: {running.url}")
            signal.pause()
        except KeyboardInterrupt:
            _say("")


@app.command("train", context_settings=PASSED_ON)
def train_bundle(
    context: typer.Context,
    config: Configs = None,
    address: Annotated[
        str | None, typer.Option(help="dashboard of a running Ray cluster, with RAY_AUTH_TOKEN; else one is started")
    ] = None,
) -> None:
    """Train a model as a Ray job and put it on the site's shelf.

    Further options are the job's own, such as `--source FILE --mapping M` or `--archive DIR@VERSION`;
    `tidegate train -- --help` shows them.
    """
    settings, job = load(config), context.args
    if {"-h", "--help"} & set(job):
        raise typer.Exit(subprocess.run([sys.executable, "-m", "training.submit", *job], check=False).returncode)  # noqa: S603
    check_job(settings, *job)
    if address is not None:
        bundle = train(settings, address, dict(os.environ), _say, *job)
    else:
        with training_cluster(settings, _say) as running:
            bundle = train(settings, running.dashboard, running.environment, _say, *job)
    if bundle is None:
        return
    named = "".join(f" --config {path}" for path in config or ())
    gate = shelf_of(settings).load(bundle).manifest.gate
    if gate is None or not gate.passed:
        _say(f"next: train on more or better payments, or tidegate bundle override {bundle} --by NAME --why WHY{named}")
        return
    _say(f"next: tidegate bundle activate {bundle}{named}")


@app.command("tune", context_settings=PASSED_ON)
def tune_settings(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="JSON file for what is found; `tidegate train --params` takes it")],
    *,
    config: Configs = None,
    address: Annotated[
        str | None, typer.Option(help="dashboard of a running Ray cluster, with RAY_AUTH_TOKEN; else one is started")
    ] = None,
) -> None:
    """Search for settings as a Ray job, on weeks before those that a training would test on.

    Further options are the job's own, such as `--source FILE --mapping M --trials 20 --before 2018-08-08`.
    """
    settings, job = load(config), [*context.args, "--params-out", str(out)]
    check_job(settings, *job)
    if address is not None:
        found = tune(settings, address, dict(os.environ), _say, *job)
    else:
        with training_cluster(settings, _say) as running:
            found = tune(settings, running.dashboard, running.environment, _say, *job)
    _say(f"next: tidegate train --params {found}")


@bundle_app.command("list")
def bundle_list(config: Configs = None) -> None:
    """Name the site's bundles, oldest first, with what the gate said and who overrode it; the active has a star."""
    shelf = shelf_of(load(config))
    active = shelf.active()
    for bundle in shelf.ids():
        _say(f"{'*' if bundle == active else ' '} {bundle}  {_standing(shelf, bundle)}")


def _standing(shelf: Shelf, bundle: BundleId) -> str:
    """Return what the gate said of a bundle, and who overrode it."""
    try:
        manifest = shelf.load(bundle).manifest
    except BundleError as error:
        return error.message
    gate, override = manifest.gate, manifest.override
    said = "never judged" if gate is None else "passed" if gate.passed else f"failed: {'; '.join(gate.reasons)}"
    if override is None:
        return f"gate {said}"
    return f"gate {said}; overridden by {override.by} at {rfc3339(override.at_us)}: {override.why}"


@bundle_app.command("activate")
def bundle_activate(
    bundle: Annotated[str, typer.Argument(help="an id that `list` shows")], config: Configs = None
) -> None:
    """Make a bundle the one that decides from the gate's next start on; one that failed its gate needs an override."""
    shelf = shelf_of(load(config))
    scorer = Scorer(shelf.load(BundleId(bundle)))
    examine(bundle, scorer.bundle.manifest.policy, golden_of_model(scorer), time.perf_counter)
    shelf.activate(BundleId(bundle))
    _say(f"{bundle} is active from the next start of the site on; start it (again)")


@bundle_app.command("override")
def bundle_override(
    bundle: Annotated[str, typer.Argument(help="an id that `list` shows")],
    *,
    by: Annotated[str, typer.Option(help="who answers for it")],
    why: Annotated[str, typer.Option(help="the reason, for whoever asks later")],
    config: Configs = None,
) -> None:
    """Record that somebody wants a bundle although its gate said no: a copy that says so, under an id of its own."""
    made = shelf_of(load(config)).override(BundleId(bundle), by=by, why=why, at_us=SystemClock().now_us())
    named = "".join(f" --config {path}" for path in config or ())
    _say(f"{made} is {bundle} with the override of {by}")
    _say(f"next: tidegate bundle activate {made}{named}")


@app.command()
def replay(  # noqa: PLR0913 - options of a command
    file: Annotated[Path, typer.Argument(help="Parquet or CSV of recorded payments", exists=True, dir_okay=False)],
    *,
    mapping: Annotated[Path, typer.Option(help="TOML that says which column is what: configs/datasets", exists=True)],
    to: Annotated[str, typer.Option(help="address of the site's door")] = "http://127.0.0.1:8410",
    key_file: Annotated[Path, typer.Option(help="file that holds an API key", exists=True)] = _DEMO_KEY,
    speed: Annotated[float, typer.Option(min=0, help="times faster than recorded; 0 is as fast as it goes")] = 0,
    keep_times: Annotated[
        bool,
        typer.Option("--keep-times", help='leave payments in their own time; for clock.source = "events"'),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="stop after so many payments")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="stop after so many seconds")] = None,
    connections: Annotated[int, typer.Option(min=1, max=256, help="how many payments are under way at a time")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="the report as JSON, for programs")] = False,
) -> None:
    """Send recorded payments to a site, labels when they became known, with a progress bar and a report.

    Exits with 1 where something was refused.

    Payments are shifted to now, and get new ids each time; squeezed by --speed they come closer together than in life.
    """
    command = [sys.executable, "-m", "training.stream", "--file", str(file), "--mapping", str(mapping), "--url", to]
    command += ["--key-file", str(key_file), "--speed", str(speed), "--connections", str(connections), "--progress"]
    command += ["--report", "json" if as_json else "table", *(["--keep-times"] if keep_times else [])]
    bounds = {"--limit": limit, "--seconds": seconds}
    command += [text for name, value in bounds.items() if value is not None for text in (name, str(value))]
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own module


@app.command()
def reasons() -> None:
    """Print the catalogue of reasons, as docs/reasons.md has it."""
    typer.echo(markdown(), nl=False)


@app.command()
def doctor(
    *,
    config: Configs = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object, for programs")] = False,
) -> None:
    """Say whether the site can keep its promises on this machine, and what to do where it can't; changes nothing.

    Exits with 1 where something fails. Reads the whole journal, as a start does. Run it as the site's user.
    """
    machine = LinuxMachine()
    found = list(examination.machine_findings(machine))
    try:
        settings = load(config)
    except SettingsError as error:
        found.insert(0, examination.of_refused(error))
    else:
        found += examination.site_findings(machine, FolderSite(settings), settings)
    for line in [examination.as_json(found)] if as_json else examination.lines(found):
        _say(line)
    raise typer.Exit(0 if examination.healthy(found) else 1)


@app.command("archive", context_settings={**PASSED_ON, "help_option_names": []}, add_help_option=False)
def archive_command(context: typer.Context) -> None:
    """Ask an archive in SQL, name its version, prove it, compact it: `tidegate archive --help` shows how."""
    command = [sys.executable, "-m", "serve_apps.archive", *context.args]  # cloud and edge don't import each other
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own module


def _journal(folder: Path) -> PosixDisk:
    disk = PosixDisk(folder)
    if not epoch_names(disk.sizes()):
        raise NotFoundError(f"{folder}: no journal is there; name the folder `journal` in a site's data_dir")
    return disk


@journal_app.command("verify")
def journal_verify(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    against: Annotated[str | None, typer.Option(help="address of a cloud: prove that it holds what is here")] = None,
    key_file: Annotated[Path | None, typer.Option(help="file with an API key that may read there")] = None,
    authority: Annotated[Path | None, typer.Option(help="PEM file with who vouches for the cloud")] = None,
) -> None:
    """Check every byte of a journal: checksums, sequences, chains. Exits with 1 where something is wrong.

    With --against, check that a cloud holds exactly these records; what isn't there yet is wrong, too.
    """
    disk = _journal(folder)
    if against is not None:
        if key_file is None:
            raise SettingsError("--key-file: needed with --against")
        found = proven(disk, against, key_file, authority)
        for line in proof_lines(found):
            _say(line)
        raise typer.Exit(0 if all(one.whole for one in found) else 1)
    in_use = holder_of(folder / LOCK) is not None
    report = verify(disk)
    for line in verify_lines(report, in_use=in_use):
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
    for line in show_lines(_journal(folder), lane=wanted, from_pos=from_pos, limit=limit):
        _say(line)


def told(error: TidegateError) -> str:
    """Return an error for a person: where several things are wrong, a line each."""
    if len(error.fields) <= 1:
        return error.message
    head, all_of_it, tail = error.message.partition(joined(error.fields))
    if not all_of_it:
        return error.message
    lines = [f"  {one.field}: {one.message}" for one in error.fields]
    return "\n".join(part for part in (head.rstrip(), *lines, tail.removeprefix("; ")) if part)


def main() -> None:
    """Run a command; what goes wrong is told in a sentence. SIGTERM stops in order, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except TidegateError as error:
        sys.exit(f"tidegate: {told(error)}")
    except OSError as error:
        sys.exit(f"tidegate: {error}; check the paths in the configuration")


if __name__ == "__main__":
    main()
