"""`tidegate decision`: what a site decided, proven again from its own folder, for auditors and after a dispute."""

from pathlib import Path
from typing import Annotated

import typer

from actors.gate.replay import Replay, Replayed
from actors.journal.disk import PosixDisk
from actors.journal.memory import MemoryDisk
from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from edge_nodes.loading import Configs, load
from tidegate.errors import NotFoundError
from tidegate.ids import RecordId
from tidegate.settings import SiteSettings

app = typer.Typer(no_args_is_help=True, help="Prove what a site decided; needs no running gate, and never writes.")


@app.callback()
def _several() -> None:
    """Keep `replay` a word of its own."""


def found(settings: SiteSettings, decision: str) -> Replay:
    """Return a decision of a site's own journal.

    Raises:
        NotFoundError: there is none of that id.
    """
    wanted = RecordId.parse(decision)
    if wanted is None:
        raise NotFoundError(f"{decision}: is no decision's id; one looks like site-1.g0.0123456789abcdef.L1.42")
    folder = Path(settings.data_dir)
    journal, window, orders = folder / "journal", folder / "window", folder / "orders"
    if not journal.is_dir():
        raise NotFoundError(f"{journal}: no journal is there; name the site's files with --config")
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    return Replay(
        wanted=wanted,
        journal=PosixDisk(journal),
        checkpoints=PosixDisk(window) if window.is_dir() else MemoryDisk(),
        orders=PosixDisk(orders) if orders.is_dir() else MemoryDisk(),
        load=lambda bundle: Scorer(shelf.load(bundle)),
    )


def _tell(way: str, replayed: Replayed) -> None:
    verdict = "equal to the bit" if replayed.equal else "NOT equal"
    typer.echo(f"{way}: {verdict} ({replayed.records} records of the journal read)")
    for field, stored, again in replayed.differences:
        typer.echo(f"  {field}: stored {stored}, replayed {again}")


@app.command()
def replay(
    decision: Annotated[str, typer.Argument(help="the decision's id, as it was answered")],
    *,
    stored: Annotated[bool, typer.Option("--stored", help="score the stored vector again")] = False,
    recompute: Annotated[bool, typer.Option("--recompute", help="rebuild the features from the journal, too")] = False,
    config: Configs = None,
) -> None:
    """Decide again, from what was stored; both ways where none is named. Exits with 1 where a bit differs."""
    again = found(load(config), decision)
    old = again.decided
    typer.echo(f"{old.transaction_id}: {old.outcome.word}, model {old.bundle}, probability {old.probability:.6f}")
    results = []
    if stored or not recompute:
        results.append(("stored", again.stored()))
    if recompute or not stored:
        results.append(("recompute", again.recompute()))
    for way, replayed in results:
        _tell(way, replayed)
    raise typer.Exit(0 if all(replayed.equal for _, replayed in results) else 1)
