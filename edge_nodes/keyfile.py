"""`tidegate key`, `tidegate cloud key`: who may call. A key is shown once, when it is made; its digest is kept."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from edge_nodes.loading import Configs, load
from tidegate.errors import NotFoundError, SettingsError
from tidegate.keys import ANY_MERCHANT, KeyFile, Scope, dump_keys, make_key, parse_keys
from tidegate.settings import SiteSettings

DEMO: Final = "demo"
_PRIVATE: Final = 0o600

app = typer.Typer(no_args_is_help=True, help="API keys of a site; a change counts from its next start on.")
cloud_app = typer.Typer(no_args_is_help=True, help="API keys of the cloud; a change counts from its next start on.")
CloudDir = Annotated[Path, typer.Option("--dir", help="folder of registry, quarantine, log and keys")]
_CLOUD: Final = Path("var/cloud")


def path_of(settings: SiteSettings) -> Path:
    """Return where a site's keys are stored."""
    return Path(settings.data_dir) / "keys.json"


def demo_path(settings: SiteSettings) -> Path:
    """Return where the demo's key is shown."""
    return Path(settings.data_dir) / "demo.key"


def stored(settings: SiteSettings) -> KeyFile:
    """Return a site's keys; none where there is no file.

    Raises:
        SettingsError: the file is broken.
    """
    return stored_in(path_of(settings))


def stored_in(path: Path) -> KeyFile:
    """Return the keys of a file; none where there is no file. Raises as `stored`."""
    return parse_keys(str(path), path.read_bytes()) if path.exists() else KeyFile(keys=())


def write_private(path: Path, data: bytes) -> None:
    """Replace a private file at once."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.tmp")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, so that the file is private from the start
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def add_key(settings: SiteSettings, name: str, scopes: frozenset[Scope], merchants: frozenset[str]) -> str:
    """Make a key, store its digest and return the secret.

    Raises:
        SettingsError: there is a key of that name.
    """
    return add_to(path_of(settings), name, scopes, merchants)


def add_to(path: Path, name: str, scopes: frozenset[Scope], merchants: frozenset[str]) -> str:
    """Make a key and store its digest in a file; raises as `add_key`."""
    keys = stored_in(path).keys
    if name in {key.name for key in keys}:
        raise SettingsError(f"key {name!r} is there already; remove it first, or choose another name")
    secret, key = make_key(name, scopes, os.urandom, merchants)
    write_private(path, dump_keys(KeyFile(keys=(*keys, key))))
    return secret


def remove_key(settings: SiteSettings, name: str) -> None:
    """Forget a key.

    Raises:
        NotFoundError: there is none of that name.
    """
    remove_from(path_of(settings), name)


def remove_from(path: Path, name: str) -> None:
    """Forget a key of a file; raises as `remove_key`."""
    keys = stored_in(path).keys
    if name not in {key.name for key in keys}:
        raise NotFoundError(f"key {name!r}: there is none of that name in {path}")
    write_private(path, dump_keys(KeyFile(keys=tuple(key for key in keys if key.name != name))))


def demo_key(settings: SiteSettings) -> str:
    """Return the demo's key, for all scopes; it is made where there is none."""
    shown = demo_path(settings)
    names = {key.name for key in stored(settings).keys}
    if DEMO in names and shown.exists():
        return shown.read_text()
    if DEMO in names:
        remove_key(settings, DEMO)
    secret = add_key(settings, DEMO, frozenset(Scope), frozenset({ANY_MERCHANT}))
    write_private(shown, secret.encode())
    return secret


def prepare_keys(settings: SiteSettings) -> tuple[bytes, str]:
    """Return the key file's content, and the demo's key under the demo profile, elsewhere nothing.

    Raises:
        SettingsError: nobody could call the site.
    """
    secret = demo_key(settings) if settings.profile == "demo" else ""
    if not stored(settings).keys:
        raise SettingsError(
            f"{path_of(settings)}: no API key; make one, with the same --config: tidegate key add till-1 --scope decide"
        )
    return path_of(settings).read_bytes(), secret


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="whose key it is: lower case letters, digits, dashes")],
    scope: Annotated[list[Scope], typer.Option(help="what it may do; several are several options")],
    merchant: Annotated[list[str] | None, typer.Option(help="only for this merchant; all where none is named")] = None,
    config: Configs = None,
) -> None:
    """Make a key and show it, once."""
    merchants = frozenset(merchant or [ANY_MERCHANT])
    typer.echo(add_key(load(config), name, frozenset(scope), merchants))


@app.command("list")
def show(config: Configs = None) -> None:
    """Show who has a key, and for what."""
    _show(stored(load(config)))


def _show(keys: KeyFile) -> None:
    for key in keys.keys:
        typer.echo(f"{key.name:32} {','.join(sorted(key.scopes)):32} {','.join(sorted(key.merchants))}")


@app.command()
def remove(name: Annotated[str, typer.Argument()], config: Configs = None) -> None:
    """Forget a key: whoever has it is a stranger from the site's next start on."""
    remove_key(load(config), name)


@cloud_app.command("add")
def cloud_add(
    name: Annotated[str, typer.Argument(help="whose key it is: lower case letters, digits, dashes")],
    scope: Annotated[list[Scope], typer.Option(help="what it may do; several are several options")],
    folder: CloudDir = _CLOUD,
) -> None:
    """Make a key and show it, once."""
    typer.echo(add_to(cloud_keys(folder), name, frozenset(scope), frozenset({ANY_MERCHANT})))


@cloud_app.command("list")
def cloud_list(folder: CloudDir = _CLOUD) -> None:
    """Show who has a key, and for what."""
    _show(stored_in(cloud_keys(folder)))


@cloud_app.command("remove")
def cloud_remove(name: Annotated[str, typer.Argument()], folder: CloudDir = _CLOUD) -> None:
    """Forget a key: whoever has it is a stranger from the cloud's next start on."""
    remove_from(cloud_keys(folder), name)


def cloud_keys(folder: Path) -> Path:
    """Return where the cloud's keys are stored."""
    return folder / "keys.json"
