"""`tidegate cloud site`: what operators ask of the cloud's registry, over HTTP, with an API key of the scope sites."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import BaseModel, ValidationError

from edge_nodes.upstream import Cloud, read_api_key
from tidegate.enrolment import (
    REGISTRY_PATH,
    SITES_PATH,
    AcknowledgedAnswer,
    Acknowledgement,
    KeyAnswer,
    NewSite,
    RegisteredAnswer,
    RegistryPage,
    Revocation,
    TokenAnswer,
)
from tidegate.errors import SettingsError
from tidegate.ids import is_name

app = typer.Typer(no_args_is_help=True, help="What operators ask of the cloud.")
site_app = typer.Typer(no_args_is_help=True, help="Sites: made, given tokens, shown, revoked.")
app.add_typer(site_app, name="site")

_CLOUD: Final = "https://127.0.0.1:8500"
Name = Annotated[str, typer.Argument(help="the site's name: lower case letters, digits, dashes")]
Url = Annotated[str, typer.Option("--cloud", help="address of the cloud")]
KeyFile = Annotated[Path, typer.Option(help="file that holds an API key of the scope sites")]
Authority = Annotated[
    Path | None, typer.Option(help="PEM file with who may vouch for the cloud; else the system's", exists=True)
]


def _cloud(url: str, key_file: Path, authority: Path | None) -> Cloud:
    return Cloud(url, authority=str(authority or ""), key=read_api_key(key_file))


def _site(name: str, *beyond: str) -> str:
    """Return the path of a site, or of what belongs to it."""
    if not is_name(name):
        raise SettingsError(f"{name!r} is no site's name: 1 to 32 lower case letters, digits and dashes")
    return "/".join((SITES_PATH, name, *beyond))


def _shown(told: TokenAnswer) -> None:
    """Print the token alone where a program reads it; what a person needs to know goes beside."""
    typer.echo(told.token)
    typer.echo(f"for {told.site}, once, until {told.expires_at}: tidegate site enrol --token TOKEN", err=True)


@site_app.command()
def add(name: Name, *, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Make a site, and print the one-time token with which it enrols."""
    _site(name)
    _shown(_cloud(cloud, key_file, authority).post(SITES_PATH, _checked(NewSite, site=name), TokenAnswer))


@site_app.command()
def token(name: Name, *, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Print another one-time token for a site: for a new machine, or after a revocation; the one before is void."""
    _shown(_cloud(cloud, key_file, authority).post(_site(name, "tokens"), None, TokenAnswer))


@site_app.command()
def show(name: Name, *, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Show a site and all keys that it has had."""
    for line in lines(_cloud(cloud, key_file, authority).get(_site(name, "keys"), RegisteredAnswer)):
        typer.echo(line)


@site_app.command("list")
def all_sites(*, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Name all sites, with the key that each signs with."""
    asked, cursor = _cloud(cloud, key_file, authority), ""
    while True:
        page = asked.get(f"{REGISTRY_PATH}{cursor}", RegistryPage)
        for site in page.data:
            typer.echo(summary(site))
        if page.next_cursor is None:
            return
        cursor = f"?cursor={page.next_cursor}"


@site_app.command()
def revoke(
    name: Name,
    *,
    why: Annotated[str, typer.Option(help="kept with who, and told to whoever uses the key")],
    key_file: KeyFile,
    key: Annotated[str | None, typer.Option(help="only this key, by its id; else all of the site")] = None,
    cloud: Url = _CLOUD,
    authority: Authority = None,
) -> None:
    """End a site's keys, from its next frame on; it comes back by a new token."""
    asked, reason = _cloud(cloud, key_file, authority), _checked(Revocation, why=why)
    if key is None:
        told = asked.post(_site(name, "revocation"), reason, RegisteredAnswer)
        for line in lines(told):
            typer.echo(line)
        return
    typer.echo(key_line(asked.post(_site(name, "keys", key, "revocation"), reason, KeyAnswer)))


@site_app.command()
def acknowledge(
    name: Name,
    *,
    why: Annotated[str, typer.Option(help="kept with who")],
    key_file: KeyFile,
    cloud: Url = _CLOUD,
    authority: Authority = None,
) -> None:
    """Say that you have looked at a site's alarms, its forks and rivals; what is new of them is an alarm again."""
    said = _checked(Acknowledgement, why=why)
    told = _cloud(cloud, key_file, authority).post(_site(name, "acknowledgement"), said, AcknowledgedAnswer)
    for each in told.data:
        typer.echo(f"{each.site}/{each.gate}/{each.epoch}  {', '.join(each.reasons)}")


def _checked(model: type[BaseModel], **said: str) -> BaseModel:
    """Return a body; what it may not hold is told before it is sent."""
    try:
        return model.model_validate(said)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        message = wrong["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{'.'.join(map(str, wrong['loc']))}: {message}") from None


def key_line(key: KeyAnswer) -> str:
    """Return a key in a line: which, how it stands, since when and why."""
    ends = f"; ends {key.retires_at}" if key.state == "retiring" else ""
    ended = f"; revoked {key.revoked_at} by {key.revoked_by}: {key.why}" if key.state == "revoked" else ""
    return f"{key.key}  {key.state:8}  enrolled {key.enrolled_at}{ends}{ended}"


def summary(site: RegisteredAnswer) -> str:
    """Return a site in a line."""
    if site.revoked_at is not None:
        return f"{site.site:32}  revoked {site.revoked_at} by {site.revoked_by}: {site.why}"
    active = [key.key for key in site.keys if key.state == "active"]
    waits = f"a token waits until {site.token_until}" if site.token_until else "no key"
    return f"{site.site:32}  {f'key {active[0]}' if active else waits}"


def lines(site: RegisteredAnswer) -> Iterator[str]:
    """Yield a site and its keys, a line each."""
    yield f"{summary(site)}  (made {site.made_at} by {site.made_by})"
    yield from (f"  {key_line(key)}" for key in site.keys)
