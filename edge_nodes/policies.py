"""`tidegate policy` and `tidegate lists`: what a site decides by beside its model; tried, and swapped while it runs."""

import csv
import difflib
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import pyarrow.parquet as pq
import typer

from actors.gate.activation import golden_of_model
from actors.gate.orders import Orders
from actors.gate.replay import Replay
from actors.journal.disk import PosixDisk
from actors.journal.memory import MemoryDisk
from actors.scorer.model import Scorer
from edge_nodes.decisions import found
from edge_nodes.loading import Configs, load
from edge_nodes.node import shelf_of
from tidegate.decided import Decided
from tidegate.decision import REASONS, Source
from tidegate.errors import FieldError, ListsError, NotFoundError, PolicyError, TemporaryError
from tidegate.limits import LISTS_BYTES_MAX, LISTS_S_MAX
from tidegate.lists import ListName, parse
from tidegate.policy.check import Golden, Report, check_successor, examine, read
from tidegate.policy.terms import Policy, Rule, policy_id
from tidegate.policy.variables import BOOLS, DOUBLES, TEXTS, meaning
from tidegate.settings import SiteSettings

app = typer.Typer(no_args_is_help=True, help="The policy: rules, costs, the ladder of age.")
lists_app = typer.Typer(
    no_args_is_help=True, help="Lists: blocked, allowed, watched tokens, and rules they are spared."
)

_DEMO_KEY: Final = Path("var/site-1/demo.key")
_PARQUET_ROWS: Final = 65_536
To = Annotated[str, typer.Option(help="address of the site's door")]
KeyFile = Annotated[Path, typer.Option(help="file that holds an API key of the scope policy, or lists", exists=True)]
Why = Annotated[str, typer.Option(help="recorded in the journal, with whose key it was")]
_DOOR: Final = "http://127.0.0.1:8410"


def _policy(path: Path) -> Policy:
    try:
        return read(str(path), path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: can't be read ({error}); name a TOML file") from error


def _golden(settings: SiteSettings) -> Golden | None:
    shelf = shelf_of(settings)
    active = shelf.active()
    return None if active is None else golden_of_model(Scorer(shelf.load(active)))


def _told(policy: Policy, report: Report | None) -> Iterator[str]:
    states = [rule.state.value for rule in policy.rules]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none"
    yield f"{policy_id(policy)} ({policy.name}): rules {counts}"
    if report is None:
        yield "no bundle is active here, so nothing was measured; train one and check again"
        return
    yield f"rules take {report.p99_us:.1f} µs at the 99th percentile of {report.rows} golden rows"
    ids = {rule.number: rule.id for rule in policy.rules}
    yield from (f"  {ids[number]}: true of {hits} golden rows" for number, hits in report.hits.items())


@app.command()
def check(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], config: Configs = None) -> None:
    """Check a policy: every error with its line; what its rules cost on the golden rows of the active model."""
    policy, golden = _policy(file), _golden(load(config))
    report = None if golden is None else examine(str(file), policy, golden, time.perf_counter)
    for line in _told(policy, report):
        typer.echo(line)


def _in_force(settings: SiteSettings) -> tuple[str, Policy]:
    """Return the policy that a site decides by, as its files say, and where it comes from."""
    folder = Path(settings.data_dir) / "orders"
    own = Orders(PosixDisk(folder)).policy() if folder.is_dir() else None
    if own is not None:
        return f"activated by {own.by}: {own.why}", Policy.model_validate(own.terms)
    shelf = shelf_of(settings)
    active = shelf.active()
    if active is None:
        raise NotFoundError("this site has neither a policy nor a bundle yet; train one: tidegate train")
    return f"the policy of bundle {active}", shelf.load(active).manifest.policy


@app.command()
def explain(
    decision: Annotated[str | None, typer.Argument(help="a decision's id; without one, the rules in force")] = None,
    config: Configs = None,
) -> None:
    """Say which rules there are and why; or of a decision: which were true, which were left out, what decided."""
    settings = load(config)
    if decision is None:
        source, policy = _in_force(settings)
        typer.echo(f"{policy_id(policy)}: {source}")
        for rule in sorted(policy.rules, key=lambda one: one.number):
            for line in _rule(rule):
                typer.echo(line)
        return
    for line in _decided(found(settings, decision)):
        typer.echo(line)


def _rule(rule: Rule) -> Iterator[str]:
    brake = f", at most {rule.brake.declines} declines in {rule.brake.minutes} minutes" if rule.brake else ""
    yield f"{rule.number:2} {rule.id} v{rule.version} [{rule.state.value}] {rule.strength} {rule.outcome}{brake}"
    yield f"   when {rule.when}"
    yield f"   {rule.reason}: {rule.text}"


def _decided(replay: Replay) -> Iterator[str]:
    decided, policy = replay.decided, replay.basis().policy
    yield f"{decided.transaction_id}: {decided.outcome.word}, by policy {decided.policy}, lists {decided.lists_version}"
    for number in decided.reasons:
        reason = REASONS.get(number)
        yield f"  {reason.code}: {reason.text}" if reason else f"  REASON_{number}"
    for rule in policy.terms.rules:
        did = _part(decided, rule)
        if did:
            yield f"  rule {rule.number} {rule.id} v{rule.version} [{rule.state.value}]: {did} (when {rule.when})"


def _part(decided: Decided, rule: Rule) -> str:
    """Return what a rule did in a decision, in words; empty where it wasn't true."""
    masks = (
        (decided.rules_deciding, "true, and decided"),
        (decided.rules_suppressed, "true, but this card is spared it"),
        (decided.rules_braked, "true, but its brake had closed"),
        (decided.rules_failed, "failed"),
        (
            decided.rules_hit,
            "true, but a stronger word decided" if rule.state.value == "active" else "true, only watched",
        ),
    )
    return next((words for mask, words in masks if mask & rule.bit), "")


def _text(policy: Policy) -> list[str]:
    return json.dumps(policy.model_dump(mode="json"), indent=1, sort_keys=True).splitlines()


@app.command()
def diff(
    one: Annotated[Path, typer.Argument(exists=True)], other: Annotated[Path, typer.Argument(exists=True)]
) -> None:
    """Show what differs between two policies, defaults included. Exits with 1 where something does."""
    first, second = _policy(one), _policy(other)
    told = list(difflib.unified_diff(_text(first), _text(second), str(one), str(other), lineterm="", n=2))
    for line in told:
        typer.echo(line)
    try:
        check_successor(str(other), first, second)
    except PolicyError as error:
        typer.echo(f"can't follow: {error.message}")
    raise typer.Exit(1 if told else 0)


@app.command()
def activate(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    *,
    why: Why,
    override: Annotated[
        bool, typer.Option("--override", help="take it although it would decline more than the site allows")
    ] = False,
    to: To = _DOOR,
    key_file: KeyFile = _DEMO_KEY,
) -> None:
    """Make a policy the one that a running site decides by, between two decisions; refused whole or taken whole."""
    terms = _policy(file).model_dump(mode="json")
    body = json.dumps({"terms": terms, "why": why, "override": override}).encode()
    told = _send(f"{to}/v1/policy", body, "application/json", key_file)
    tried = told["tried_on"]
    typer.echo(f"{told['policy']} decides since {told['as_of']}; rules take {told['rules_p99_us']} µs at p99")
    typer.echo(
        f"of the last day's {tried['decisions']} decisions it would decline {tried['declined_now']} "
        f"({tried['declined_then']} were), {tried['changed']} would come out otherwise"
    )


def _send(url: str, body: bytes, kind: str, key_file: Path, method: str = "PUT") -> Any:  # noqa: ANN401 - JSON
    headers = {"Authorization": f"Bearer {key_file.read_text().strip()}", "Content-Type": kind}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - the site's own door
    try:
        with urllib.request.urlopen(request, timeout=2 * LISTS_S_MAX) as answer:  # noqa: S310 - as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        fields = tuple(FieldError(one["field"], one["message"]) for one in problem.get("errors") or ())
        raise PolicyError(problem["detail"], fields=fields) from error
    except OSError as error:
        raise TemporaryError(f"{url}: {error}; is the site running? Name its door with --to") from error


@app.command()
def variables() -> None:
    """Name what a rule may read: its kind, and what it means."""
    for kind, names in (("number", DOUBLES), ("text", TEXTS), ("true or false", BOOLS)):
        for name in names:
            typer.echo(f"{name:28} {kind:14} {meaning(name)}")


@app.command()
def reasons() -> None:
    """Name the reasons that a rule may give."""
    for reason in REASONS.values():
        if reason.source is Source.RULE:
            typer.echo(f"{reason.code:24} {reason.text}")


@lists_app.command("load")
def lists_load(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet: list, entity, value, expires_at, rule", exists=True)],
    *,
    why: Why,
    to: To = _DOOR,
    key_file: KeyFile = _DEMO_KEY,
) -> None:
    """Replace all lists of a running site between two decisions; one wrong line, and the whole file is refused."""
    content = parse(str(file), _lines(file))
    body = "".join(content.lines()).encode()
    if len(body) > LISTS_BYTES_MAX:
        raise ListsError(f"{file}: more than {LISTS_BYTES_MAX} bytes of entries; a site holds no more")
    _tell(_send(f"{to}/v1/lists?{urllib.parse.urlencode({'why': why})}", body, "text/csv", key_file))


def _tell(told: dict[str, Any]) -> None:
    since = told["changed_at"] or told["as_of"]
    typer.echo(f"version {told['version']} ({told['lists']}): {told['entries']} entries decide since {since}")
    if told["unknown_rules"]:
        typer.echo(f"no such rule is in the policy in force: {', '.join(told['unknown_rules'])}", err=True)


ListArgument = Annotated[ListName, typer.Argument(metavar="LIST", help=", ".join(ListName))]
EntityArgument = Annotated[str, typer.Argument(help="card, device, terminal, merchant, country, mcc")]
ValueArgument = Annotated[str, typer.Argument(help="the token; a card number is refused")]
RuleOption = Annotated[str, typer.Option(help="suppress: the id of the rule that a card is spared")]


@lists_app.command("add")
def lists_add(
    name: ListArgument,
    entity: EntityArgument,
    value: ValueArgument,
    *,
    why: Why,
    until: Annotated[str, typer.Option(help="RFC 3339; without it the entry stays until it is removed")] = "",
    rule: RuleOption = "",
    to: To = _DOOR,
    key_file: KeyFile = _DEMO_KEY,
) -> None:
    """Set one entry of a running site's lists, or its date where it stands already; all others stay."""
    entry = {"list": name, "entity": entity, "value": value, "expires_at": until, "rule": rule}
    _change({"add": [entry]}, why, to, key_file)


@lists_app.command("remove")
def lists_remove(
    name: ListArgument,
    entity: EntityArgument,
    value: ValueArgument,
    *,
    why: Why,
    rule: RuleOption = "",
    to: To = _DOOR,
    key_file: KeyFile = _DEMO_KEY,
) -> None:
    """Take one entry off a running site's lists; all others stay."""
    _change({"remove": [{"list": name, "entity": entity, "value": value, "rule": rule}]}, why, to, key_file)


def _change(change: dict[str, Any], why: str, to: str, key_file: Path) -> None:
    body = json.dumps({**change, "why": why}).encode()
    _tell(_send(f"{to}/v1/lists/changes", body, "application/json", key_file, "POST"))


def _lines(file: Path) -> Iterator[str]:
    """Yield a file's lines as CSV, a batch of rows in memory at a time."""
    if file.suffix == ".parquet":
        yield from _parquet_lines(file)
        return
    with file.open(newline="", encoding="utf-8-sig") as lines:  # spreadsheets put a mark in front
        try:
            yield from lines
        except UnicodeDecodeError as error:
            raise ListsError(f"{file}: not UTF-8 text; write CSV or Parquet") from error


def _parquet_lines(file: Path) -> Iterator[str]:
    try:
        table = pq.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise ListsError(f"{file}: no Parquet file ({error})") from error
    yield ",".join(table.schema_arrow.names) + "\n"
    for batch in table.iter_batches(_PARQUET_ROWS):
        sink = io.StringIO()
        columns = [["" if value is None else str(value) for value in column.to_pylist()] for column in batch.columns]
        csv.writer(sink, lineterminator="\n").writerows(zip(*columns, strict=True))
        sink.seek(0)
        yield from sink


@lists_app.command("show")
def lists_show(
    *,
    entries: Annotated[bool, typer.Option("--entries", help="also each entry; tokens are shown")] = False,
    config: Configs = None,
) -> None:
    """Show the lists in force, as the site's files say."""
    folder = Path(load(config).data_dir) / "orders"
    orders = Orders(PosixDisk(folder) if folder.is_dir() else MemoryDisk())
    told = orders.lists()
    typer.echo(
        f"version {told.version}: {told.entries} entries {told.lists} by {told.by or 'nobody'} {told.why}".rstrip()
    )
    if entries and told.version:
        for line in orders.text(told):
            typer.echo(line.rstrip("\n"))
