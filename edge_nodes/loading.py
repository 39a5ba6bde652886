"""Reads a site's configuration files, for every command that takes `--config`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from tidegate.errors import SettingsError
from tidegate.settings import SiteSettings, merge, parse, site_settings

DEMO: Final = Path(__file__).resolve().parents[1] / "configs" / "edge" / "site.toml"

Configs = Annotated[list[Path] | None, typer.Option("--config", help="TOML files; later ones win.")]


def load(configs: list[Path] | None) -> SiteSettings:
    """Return the settings of the given files, or of the demo site, laid over what an enrolment left with the data."""
    paths = configs or [DEMO]
    layers = [parse(str(path), _text(path)) for path in paths]
    folder = merge(layers).get("data_dir")
    enrolled = enrolled_layer(Path(folder)) if isinstance(folder, str) else None
    if enrolled is not None and enrolled.exists():
        paths, layers = [enrolled, *paths], [parse(str(enrolled), _text(enrolled)), *layers]
    return site_settings(layers, names=", ".join(map(str, paths)))


def enrolled_layer(data_dir: Path) -> Path:
    """Return where an enrolment says how the site reaches the cloud; all other files win over it."""
    return data_dir / "uplink" / "uplink.toml"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config: {path} can't be read ({error}); name a TOML file") from error
