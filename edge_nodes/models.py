"""`tidegate models`: what operators ask of the cloud's registry of models, with an API key of the scope models."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from actors.gate.activation import golden_of_model
from actors.keeper.catalogue import Keeping
from actors.keeper.disk import PosixStore
from actors.keeper.models import HttpsCatalogue
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from actors.uplink.https import HttpsCarrier
from edge_nodes.loading import Configs, load
from edge_nodes.node import shelf_of
from edge_nodes.upstream import Cloud, read_api_key
from tidegate.bundle import check_admitted, decode
from tidegate.clock import SystemClock
from tidegate.errors import BundleError, PolicyError, SettingsError
from tidegate.ids import BundleId, SiteId
from tidegate.limits import ROLLOUT_WHY_MAX
from tidegate.policy.check import examine
from tidegate.rollout import (
    MODELS_PATH,
    BundleAnswer,
    BundlesAnswer,
    Canaries,
    CatalogueAnswer,
    Change,
    ChangesAnswer,
    CourseAnswer,
    FileBody,
    Freeze,
    KeptAnswer,
    NewBundle,
    Offer,
    Pin,
    Promote,
    Report,
    ReportsAnswer,
    RollBack,
    Rotation,
    Thaw,
    Unpin,
)
from tidegate.trust import Catalogue, Target

app = typer.Typer(no_args_is_help=True, help="Models in the cloud: published, rolled out, rolled back.")

_CLOUD: Final = "https://127.0.0.1:8500"
_OCTETS: Final = "application/octet-stream"
_CHANGES: Final = f"{MODELS_PATH}/rollout/changes"
Bundle = Annotated[str, typer.Argument(help="a bundle's id: b- and 12 hex digits")]
Site = Annotated[str, typer.Argument(help="a site's name")]
Why = Annotated[str, typer.Option(help="kept with who and when")]
Url = Annotated[str, typer.Option("--cloud", help="address of the cloud")]
KeyFile = Annotated[Path, typer.Option(help="file that holds an API key of the scope models")]
Authority = Annotated[
    Path | None, typer.Option(help="PEM file with who may vouch for the cloud; else the system's", exists=True)
]


def _cloud(url: str, key_file: Path, authority: Path | None) -> Cloud:
    return Cloud(url, authority=str(authority or ""), key=read_api_key(key_file))


@app.command("list")
def every(*, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Name the bundles of the registry, the newest first, and how the roll-out stands."""
    asked = _cloud(cloud, key_file, authority)
    for bundle in asked.get(f"{MODELS_PATH}/bundles", BundlesAnswer).data:
        typer.echo(f"{bundle.bundle}  {bundle.added_at}  {bundle.added_by}  {bundle.standing}")
    _tell(asked.get(f"{MODELS_PATH}/rollout", CourseAnswer))


@app.command()
def show(bundle: Bundle, *, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Show a bundle: what its gate said, its metrics, its files."""
    asked = f"{MODELS_PATH}/bundles/{_checked(Offer, bundle=bundle, why='-').bundle}"
    for line in lines(_cloud(cloud, key_file, authority).get(asked, BundleAnswer)):
        typer.echo(line)


@app.command()
def publish(
    bundle: Bundle, *, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None, config: Configs = None
) -> None:
    """Send a bundle of this machine's shelf to the registry; no site gets it before it is offered."""
    files = shelf_of(load(config)).files(BundleId(bundle))
    asked, said = _cloud(cloud, key_file, authority), dict[str, FileBody]()
    for name, data in files.items():
        target = Target.of(data)
        asked.put(f"{MODELS_PATH}/artifacts/{target.sha256}", data, _OCTETS, KeptAnswer)
        said[name] = FileBody(sha256=target.sha256, bytes=target.size)
    told = asked.post(f"{MODELS_PATH}/bundles", NewBundle(files=said), BundleAnswer)
    typer.echo(f"{told.bundle}: {told.standing}")


@app.command()
def canaries(
    sites: Annotated[list[str], typer.Argument(help="names of the sites that are first")],
    *,
    why: Why,
    key_file: KeyFile,
    cloud: Url = _CLOUD,
    authority: Authority = None,
) -> None:
    """Say which sites get a bundle first."""
    _change(_checked(Canaries, sites=sites, why=why), _cloud(cloud, key_file, authority))


@app.command()
def offer(bundle: Bundle, *, why: Why, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Begin to roll a bundle out, at the canaries."""
    _change(_checked(Offer, bundle=bundle, why=why), _cloud(cloud, key_file, authority))


@app.command()
def promote(
    *,
    why: Why,
    key_file: KeyFile,
    override: Annotated[bool, typer.Option("--override", help="although sites' reports don't allow it")] = False,
    cloud: Url = _CLOUD,
    authority: Authority = None,
) -> None:
    """Widen the roll-out to the next ring; behind the last one the bundle is the stable one."""
    _change(_checked(Promote, why=why, override=override), _cloud(cloud, key_file, authority))


@app.command()
def rollback(*, why: Why, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Take the candidate back; where there is none, go back to the stable bundle of before."""
    _change(_checked(RollBack, why=why), _cloud(cloud, key_file, authority))


@app.command()
def pin(
    site: Site, bundle: Bundle, *, why: Why, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None
) -> None:
    """Give one site a bundle, whatever rolls out."""
    _change(_checked(Pin, site=site, bundle=bundle, why=why), _cloud(cloud, key_file, authority))


@app.command()
def unpin(site: Site, *, why: Why, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Let a site have what all have again."""
    _change(_checked(Unpin, site=site, why=why), _cloud(cloud, key_file, authority))


@app.command()
def freeze(*, why: Why, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Let nothing new roll out; back is always possible."""
    _change(_checked(Freeze, why=why), _cloud(cloud, key_file, authority))


@app.command()
def thaw(*, why: Why, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """End a freeze."""
    _change(_checked(Thaw, why=why), _cloud(cloud, key_file, authority))


@app.command()
def history(*, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Show who changed what and why, the newest first."""
    for done in _cloud(cloud, key_file, authority).get(_CHANGES, ChangesAnswer).data:
        told = "  ".join(f"{name}={value}" for name, value in done.told.items())
        typer.echo(f"{done.at}  {done.by}  {done.act}  {told}")


@app.command()
def reports(*, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Show what each site said last."""
    for told in _cloud(cloud, key_file, authority).get(f"{MODELS_PATH}/reports", ReportsAnswer).data:
        typer.echo(f"{told.site}  {told.at}  {told.bundle}  {told.state}  {told.why}".rstrip())


@app.command()
def catalogue(*, key_file: KeyFile, cloud: Url = _CLOUD, authority: Authority = None) -> None:
    """Show the catalogue's roles: their versions, until when they hold, whose signatures count."""
    _tell_roles(_cloud(cloud, key_file, authority).get(f"{MODELS_PATH}/catalogue", CatalogueAnswer))


@app.command()
def rotate(
    role: Annotated[str, typer.Argument(help="root, targets, snapshot, timestamp, models, lists or config")],
    *,
    why: Why,
    key_file: KeyFile,
    cloud: Url = _CLOUD,
    authority: Authority = None,
) -> None:
    """Give a role of the catalogue new keys; those it has are revoked, and sites learn of it by their next look."""
    path = f"{MODELS_PATH}/catalogue/roles/{role}/rotations"
    _tell_roles(_cloud(cloud, key_file, authority).post(path, _checked(Rotation, why=why), CatalogueAnswer))


@app.command()
def fetch(
    *,
    pinned: Annotated[Path, typer.Option(exists=True, help="the catalogue's first root, brought by hand: 1.root.json")],
    key_file: Annotated[Path, typer.Option(help="file that holds an API key of the scope catalogue")],
    door: Annotated[str, typer.Option(help="address of this site's door, which says what it decides by")],
    door_key_file: Annotated[Path, typer.Option(help="file that holds an API key of the door, of the scope read")],
    cloud: Url = _CLOUD,
    authority: Authority = None,
    config: Configs = None,
) -> None:
    """Bring the bundle that this site should have onto its shelf, proven, or tell the cloud that it decides by it."""
    settings = load(config)
    store = PosixStore(Path(settings.data_dir).resolve() / "catalogue")
    with closing(HttpsCarrier(cloud, authority=str(authority or "") or None)) as way:
        source = HttpsCatalogue(way, lambda: read_api_key(key_file))
        keeping = Keeping(pinned=pinned.read_bytes(), source=source, store=store)
        asked = Cloud(door, key=read_api_key(door_key_file))
        typer.echo(_brought(keeping, source, SiteId(settings.site), shelf_of(settings), asked))


def _brought(keeping: Keeping, source: HttpsCatalogue, site: SiteId, shelf: Shelf, door: Cloud) -> str:
    """Bring a site nearer to what it should have; return how it stands."""
    catalogue = keeping.look(SystemClock().now_us())
    wanted = keeping.bundle(catalogue, site)
    if wanted is None:
        return "the catalogue asks nothing of this site"
    if wanted != shelf.active():
        _fetched(keeping, catalogue, wanted, lambda said: source.report(site, said), shelf)
    elif door.get("/v1/site", _Deciding).bundle == wanted:
        source.report(site, Report(bundle=wanted, state="active"))
        return f"this site decides by {wanted}, and the cloud knows"
    return f"{wanted} is active from the next start of the site on; start it (again)"


class _Deciding(BaseModel):
    model_config = ConfigDict(extra="ignore")

    bundle: str


def _fetched(
    keeping: Keeping, catalogue: Catalogue, wanted: BundleId, tell: Callable[[Report], None], shelf: Shelf
) -> None:
    """Fetch a bundle, try it and make it the active one; where it fails, the cloud is told.

    Raises:
        BundleError: it isn't the one that was asked for, isn't whole, or fails.
        PolicyError: its rules are too slow.
    """
    files = keeping.files(catalogue, wanted)
    try:
        activate(shelf, wanted, files)
    except (BundleError, PolicyError) as error:
        tell(Report(bundle=wanted, state="refused", why=error.message.partition("\n")[0][:ROLLOUT_WHY_MAX]))
        raise
    finally:
        keeping.tidy()


def activate(shelf: Shelf, wanted: BundleId, files: Mapping[str, bytes]) -> None:
    """Put a bundle on the shelf, try it on its golden rows, and make it the active one; raises as `_fetched`."""
    found = decode(files)
    if found.id != wanted:
        raise BundleError(f"{wanted}: its manifest is that of {found.id}; publish it again")
    check_admitted(found.manifest)
    examine(found.id, found.manifest.policy, golden_of_model(Scorer(found)), time.perf_counter)
    shelf.activate(shelf.put(files))


def _change(change: Change, asked: Cloud) -> None:
    _tell(asked.post(_CHANGES, change, CourseAnswer))


def _checked(model: type[Any], **said: object) -> Any:  # noqa: ANN401 - a body of that model
    """Return a body; what it may not hold is told before it is sent."""
    try:
        return model.model_validate(said)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        raise SettingsError(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None


def _tell(told: CourseAnswer) -> None:
    for line in course_lines(told):
        typer.echo(line)


def course_lines(told: CourseAnswer) -> Iterator[str]:
    """Yield how a roll-out stands, a line each."""
    yield f"stable {told.stable or 'none'}, before it {told.previous or 'none'}{', frozen' if told.frozen else ''}"
    if told.candidate:
        yield f"candidate {told.candidate} at {told.ring}: active at {told.active}, refused at {told.refused}"
    yield f"canaries {', '.join(told.canaries) or 'none'}"
    yield from (f"pinned {site} {bundle}" for site, bundle in told.pins.items())


def lines(told: BundleAnswer) -> Iterator[str]:
    """Yield what there is of a bundle, a line each."""
    yield f"{told.bundle}  added {told.added_at} by {told.added_by}, trained on {told.data}"
    yield told.standing
    yield from (f"{name} {value:.4f}" for name, value in sorted(told.metrics.items()))
    yield from (f"{file.sha256}  {file.bytes:>9}  {name}" for name, file in sorted(told.files.items()))


def _tell_roles(told: CatalogueAnswer) -> None:
    for name, role in told.roles.items():
        typer.echo(f"{name:10} {role.version:>6}  until {role.expires_at}  {', '.join(key[:12] for key in role.keys)}")
    typer.echo(f"{told.files} files")
