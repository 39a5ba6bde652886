"""Reads a site's configuration files, for every command that takes `--config`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from tidegate.errors import SettingsError
from tidegate.settings import SiteSettings, parse, site_settings

_DEMO: Final = Path(__file__).resolve().parents[1] / "configs" / "edge" / "site.toml"

Configs = Annotated[list[Path] | None, typer.Option("--config", help="TOML files; later ones win.")]


def load(configs: list[Path] | None) -> SiteSettings:
    """Return the settings of the given files, or of the demo site."""
    paths = configs or [_DEMO]
    layers = [parse(str(path), _text(path)) for path in paths]
    return site_settings(layers, names=", ".join(map(str, paths)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config: {path} can't be read ({error}); name a TOML file") from error
