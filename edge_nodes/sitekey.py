"""`tidegate site`: the key by which the cloud knows this site: made here, enrolled by a one-time token, rotated.

The private key never leaves the site's machine. A new one is made beside its place and takes it once the cloud has
said yes: whatever is cut off in between, the same command again ends well.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import ValidationError

from actors.uplink.disk import PosixFile, promote, read_key
from actors.uplink.key import new_key, public_of, signer_of
from edge_nodes.loading import Configs, enrolled_layer, load
from edge_nodes.upstream import Cloud, CloudError
from tidegate.enrolment import SITES_PATH, Enrolment, KeyAnswer, Rotation, enrolment, rotation
from tidegate.errors import NotFoundError, SettingsError
from tidegate.frames import Signer
from tidegate.ids import Entropy
from tidegate.settings import SiteSettings, site_settings

app = typer.Typer(no_args_is_help=True, help="This site's key: enrolled at the cloud, rotated, shown.")

_TAKEN: Final = "TAKEN"
"""What the cloud says of a new key that was enrolled before."""
_REFUSED: Final = "KEY_REFUSED"
"""What it says of one that was revoked; of a rotation also where that is the old key, or neither is this site's."""
_STDIN: Final = "-"
Ask = Callable[[str, Enrolment | Rotation], KeyAnswer]
"""Posts a request to a path of the cloud's."""


class SiteKeyFile:
    """A site's key in its file, the one that is to follow beside it, and what the cloud said of it last."""

    def __init__(self, path: Path, site: str, entropy: Entropy) -> None:
        self.path, self._site, self._entropy = path, site, entropy
        self._following = path.with_name(f"{path.name}.next")
        self._said = path.with_name(f"{path.name}.json")

    def enrol(self, token: str, ask: Ask) -> KeyAnswer:
        """Have a new key enrolled.

        Raises:
            CloudError: the cloud refused.
            TemporaryError: no answer came; the same again ends well.
            SettingsError: the token is none.
        """
        return self._following_taken(lambda: self._enrol(token, ask), frozenset({_TAKEN, _REFUSED}))

    def rotate(self, ask: Ask) -> KeyAnswer:
        """Have a new key take the place of this one; raises as `enrol`.

        Where the cloud took the key that an attempt left, and has ended this one since, it goes on from that.

        Raises:
            SettingsError: there is no key, or others may read it.
        """
        left = self._following.exists()
        try:
            return self._following_taken(lambda: self._rotate(ask), frozenset({_TAKEN}))
        except CloudError as error:
            if not (left and error.code == _REFUSED and self._following_is_known(ask)):
                raise
        promote(self._following, self.path)
        return self._rotate(ask)

    def _following_taken(self, attempt: Callable[[], KeyAnswer], spent: frozenset[str]) -> KeyAnswer:
        """Try with the key that an attempt left which was cut off; where that one is spent, with another."""
        left = self._following.exists()
        try:
            return attempt()
        except CloudError as error:
            if not (left and error.code in spent):
                raise
        self._following.unlink()
        return attempt()

    def shown(self) -> tuple[str, KeyAnswer | None]:
        """Return the key's id, and what the cloud said of it when it was enrolled; None: that isn't known here.

        Raises:
            SettingsError: there is no key, or others may read it.
        """
        signer = signer_of(read_key(self.path), str(self.path))
        data = PosixFile(self._said).load()
        told = KeyAnswer.model_validate_json(data) if data else None
        return signer.key, told if told is not None and told.key == signer.key else None

    def _enrol(self, token: str, ask: Ask) -> KeyAnswer:
        signer, public = self._next()
        try:
            asked = enrolment(self._site, token, public, signer)
        except ValidationError as error:
            raise SettingsError("--token: it is none; one begins with tgt_ and has 64 digits more") from error
        return self._taken(signer, ask(f"{SITES_PATH}/{self._site}/enrolment", asked))

    def _rotate(self, ask: Ask) -> KeyAnswer:
        old, (signer, public) = signer_of(read_key(self.path), str(self.path)), self._next()
        return self._taken(signer, self._asked_to_rotate(old, public, signer, ask))

    def _asked_to_rotate(self, old: Signer, public: bytes, new: Signer, ask: Ask) -> KeyAnswer:
        return ask(f"{SITES_PATH}/{self._site}/keys", rotation(self._site, old, public, new))

    def _following_is_known(self, ask: Ask) -> bool:
        """Tell whether the cloud has the key that is to follow: asked to put it in its own place, it says so."""
        signer, public = self._next()
        try:
            self._asked_to_rotate(signer, public, signer, ask)
        except CloudError as error:
            return error.code == _TAKEN
        return True

    def _next(self) -> tuple[Signer, bytes]:
        """Return the key that is to follow, made where there is none."""
        if not self._following.exists():
            PosixFile(self._following).save(new_key(self._entropy))
        pem, name = read_key(self._following), str(self._following)
        return signer_of(pem, name), public_of(pem, name)

    def _taken(self, signer: Signer, told: KeyAnswer) -> KeyAnswer:
        """Put the key in its place, now that the cloud knows it."""
        if (told.key, told.site) != (signer.key, self._site):
            raise CloudError("UNREADABLE", "the cloud answered for another key than was sent: check --cloud")
        PosixFile(self._said).save(told.model_dump_json().encode())
        promote(self._following, self.path)
        return told


def _file(settings: SiteSettings) -> SiteKeyFile:
    own = Path(settings.data_dir).resolve() / "uplink" / "site.key"
    return SiteKeyFile(Path(settings.uplink.key) if settings.uplink.key else own, settings.site, os.urandom)


def _told_where(settings: SiteSettings, cloud: str | None, authority: Path | None, key: Path) -> SiteSettings:
    """Return the settings of a site that is told where its cloud is.

    Raises:
        SettingsError: nobody said, or not in a way that the site's profile allows.
    """
    uplink = settings.uplink.model_dump() | {"key": str(key)}
    uplink |= {"url": cloud} if cloud else {}
    uplink |= {"authority": str(authority.resolve())} if authority else {}
    if not uplink["url"]:
        raise SettingsError("--cloud: name the cloud's address, such as https://cloud.example:8500")
    return site_settings([settings.model_dump(), {"uplink": uplink}], names="--cloud")


def _cloud(settings: SiteSettings) -> Cloud:
    uplink = settings.uplink
    client = (uplink.client_certificate, uplink.client_key) if uplink.client_certificate else None
    return Cloud(uplink.url, authority=uplink.authority, client=client)


def _asking(settings: SiteSettings) -> Ask:
    cloud = _cloud(settings)
    return lambda path, body: cloud.post(path, body, KeyAnswer)


def layer(settings: SiteSettings) -> str:
    """Return as TOML how a site reaches the cloud."""
    said = settings.uplink.model_dump(exclude_defaults=True)
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in said.items()]
    return "\n".join(
        ["# Made by `tidegate site enrol`. What a --config file says in [uplink] wins.", "[uplink]", *lines, ""]
    )


@app.command()
def enrol(
    *,
    token: Annotated[str, typer.Option(help="the one-time token; - reads it from the standard input")],
    cloud: Annotated[str | None, typer.Option(help="address of the cloud; else the configuration's uplink.url")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="PEM file with who may vouch for the cloud; else the system's", exists=True)
    ] = None,
    config: Configs = None,
) -> None:
    """Make this site's key and have the cloud enrol it; from its next start on the site sends there."""
    token = sys.stdin.readline().strip() if token == _STDIN else token
    told, path = enrolled(load(config), token, cloud, authority)
    typer.echo(f"{told.site} is enrolled: key {told.key}")
    typer.echo(f"{path} says where the cloud is, for each command with the same --config; start the site (again)")


def enrolled(settings: SiteSettings, token: str, cloud: str | None, authority: Path | None) -> tuple[KeyAnswer, Path]:
    """Enrol a site's new key; return what the cloud said, and the file that says from now on where the cloud is.

    Raises:
        CloudError, TemporaryError, SettingsError: as `SiteKeyFile.enrol`.
    """
    file = _file(settings)
    settings = _told_where(settings, cloud, authority, file.path)
    told = file.enrol(token, _asking(settings))
    path = enrolled_layer(Path(settings.data_dir))
    PosixFile(path).save(layer(settings).encode())
    return told, path


def key_of(settings: SiteSettings) -> tuple[Path, str | None]:
    """Return where a site's key is, and its id; None: there is none yet.

    Raises:
        SettingsError: others may read it, or it is none.
    """
    file = _file(settings)
    return file.path, file.shown()[0] if file.path.exists() else None


@app.command()
def rotate(config: Configs = None) -> None:
    """Make another key, have the cloud take it in the place of this one, and use it; a site that runs goes on."""
    settings = load(config)
    if not settings.uplink.url:
        raise NotFoundError("uplink.url: this site knows no cloud; enrol it first: tidegate site enrol")
    told = _file(settings).rotate(_asking(settings))
    typer.echo(f"{told.site} has the key {told.key} now; the one before ends by itself")


@app.command()
def show(config: Configs = None) -> None:
    """Show which key this site signs with, since when, and where it sends to."""
    settings = load(config)
    file = _file(settings)
    key, told = file.shown()
    since = f"enrolled {told.enrolled_at}" if told else "enrolled by another program, or not yet"
    typer.echo(f"{settings.site}  key {key}  {since}")
    typer.echo(f"{file.path}  {settings.uplink.url or 'no cloud is configured'}")
