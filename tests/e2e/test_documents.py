"""Everything that the documents tell a newcomer to type, in their order, beside the site that `make up` starts."""

import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from actors.journal.disk import PosixDisk
from actors.journal.verify import verify
from tests.e2e.newcomer import House, Run
from tests.tidy.test_docs import DOCUMENTS, ROOT, fenced
from training.synth import SynthConfig, generate

Start = Callable[[str], Run]

pytestmark = pytest.mark.slow


NOT_RUN: Final = {
    "make test": "is what runs this",
    "make check": "is a part of make test",
    "make setup": "has been run by whoever runs this",
    "python -m tests.bench.": "takes minutes; tests/integration/test_bench*.py run them in their quick form",
    "python -m tests.soak ": "takes as many minutes as it is told; tests/simulation/test_tide.py is the same house",
    'curl -s http://127.0.0.1:8410/v1/decisions -H "authorization: Bearer $TIDEGATE_KEY"': "is run by test_calling.py",
    "tidegate run --config configs/edge/site.toml --config configs/edge/sandbox.toml": "is the run beside it "
    "under another profile, which tests/unit/gate/test_sandbox.py shows",
    "tidegate backtest ": "names days that a site has lived; tests/integration/test_backtest.py has some",
    "tidegate archive ": "asks a cloud's archive; tests/contract/test_archive_questions.py has one",
    "tidegate train --archive ": "rests on it as well; tests/integration/test_training_job.py has one",
    "tidegate tune ": "is dozens of trainings one after another; tests/unit/training/test_search.py has its parts",
    "tidegate train --params ": "rests on what that finds",
    "tidegate site ": "asks a cloud that isn't here; tests/integration/test_identity.py runs them all",
    "tidegate cloud site ": "is the operators' side of the same",
    "tidegate models ": "asks a cloud's registry; tests/integration/test_cloud.py runs them",
    "podman ": "wants an engine for containers; tests/integration/test_kuberay.py reads what it is given",
    "kubectl ": "wants a cluster; tests/integration/test_kuberay.py reads what is applied",
    "tidegate wan ": "cuts a site off from a cloud; test_up.py has two and one",
    "tidegate cloud key add ": "makes the key that those take; tests/integration/test_identity.py runs it, too",
}
LAST: Final = "tidegate run"  # takes the port of the site that `make up` started, and so waits until that one has ended
KEYS: Final = {"outcome", "risk_score", "risk_level", "probability", "reasons", "mode", "bundle", "features_as_of"}
OTHERS: Final = 20  # of so many payments that are no fraud one is kept: a replay takes seconds, not minutes
DATE: Final = "'$(date -u +%FT%TZ)'"


@dataclass
class Told:
    """What the commands said so far, put where the documents have an example."""

    house: House
    words: dict[str, str] = field(default_factory=dict)
    key: str = ""

    def command(self, command: str) -> str:
        """Return a command of a document as somebody here would type it."""
        for example, real in self.words.items():
            command = command.replace(example, real)
        return command

    def run(self, command: str) -> str:
        """Run a command of a document to its end; return what it printed."""
        done = self.house.shell(self.command(command))
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def _asked(told: Told, command: str) -> None:
    """The answer has what the document says; again it is the same, and another body under the id is refused."""
    at = told.house.shell("date -u +%FT%TZ").stdout.strip()
    assert DATE in command
    command = command.replace(DATE, at)
    first = json.loads(told.run(command))
    again = json.loads(told.run(command))
    other = json.loads(told.run(command.replace('"minor":1250', '"minor":1251')))

    assert first["transaction_id"] == "order-1"
    assert set(first) >= KEYS
    assert not first["replayed"]
    assert again == first | {"replayed": True}
    assert (other["status"], other["code"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert json.loads(told.run("curl -s http://127.0.0.1:8410/openapi.json"))["paths"].keys() >= {"/v1/decisions"}
    told.words["site-1.g0.0123456789abcdef.L1.42"] = first["decision_id"]


def _key_added(told: Told, command: str) -> None:
    key = told.run(command).strip()
    assert key.startswith("tgk_")
    told.key = key if "till-1" in command else told.key


def _said(told: Told, command: str) -> None:
    assert told.run(command)


def _without_difference(told: Told, command: str) -> None:
    assert told.run(command) == ""


def _shown(told: Told, command: str) -> None:
    assert len(told.run(command).splitlines()) == 5


def _decided_again(told: Told, command: str) -> None:
    lines = told.run(command).splitlines()
    assert lines[0].startswith("order-1: ")
    assert [line.partition(" (")[0] for line in lines[1:]] == [
        "stored: equal to the bit",
        "recompute: equal to the bit",
    ]


def _trained(told: Told, command: str) -> None:
    found = re.fullmatch(r"next: tidegate bundle activate (b-[0-9a-f]+)", told.run(command).splitlines()[-1])
    assert found is not None
    told.words["b-..."] = found[1]


def _activated(told: Told, command: str) -> None:
    assert told.run(command).startswith(f"{told.words['b-...']} is active from the next start")


def _overridden(told: Told, command: str) -> None:
    """The model trained here has passed its gate: nobody needs to answer for it, and the site says so."""
    done = told.house.shell(told.command(command))
    assert done.returncode == 1
    assert "gate: has passed this bundle, there is nothing to override" in done.stderr


def _replayed(told: Told, command: str) -> None:
    report = told.run(command)
    assert "payments sent" in report
    assert re.search(r"errors +│ none", report)


def _diagnosed(told: Told, command: str) -> None:
    """What the doctor finds is the machine's, and its exit code says so; each finding is in its page's table."""
    done = told.house.shell(told.command(command))
    explained = set(re.findall(r"^\| ([a-z ]+?) \|", (ROOT / "docs" / "doctor.md").read_text(), re.MULTILINE))

    assert done.returncode in {0, 1}, done.stderr
    if "--json" in command:
        said = json.loads(done.stdout)
        assert said["healthy"] is (done.returncode == 0)
        assert {"journal", "bundle", "door"} <= {finding["name"] for finding in said["findings"]} <= explained
    else:
        assert "journal" in done.stdout


CHECKS: Final = {
    "curl": _asked,
    "tidegate key add": _key_added,
    "tidegate journal verify": _said,
    "tidegate policy check": _said,
    "tidegate policy activate": _said,
    "tidegate policy explain": _said,
    "tidegate policy diff": _without_difference,
    "tidegate lists load": _said,
    "tidegate lists show": _said,
    "tidegate lists add": _said,
    "tidegate lists remove": _said,
    "tidegate journal show": _shown,
    "tidegate decision replay": _decided_again,
    "tidegate train": _trained,
    "tidegate bundle activate": _activated,
    "tidegate bundle list": _said,
    "tidegate bundle override": _overridden,
    "tidegate replay": _replayed,
    "tidegate doctor": _diagnosed,
}


def _payments(file: Path) -> None:
    """Write payments as the handbook's file has them: ten weeks with all their frauds, and few others beside them."""
    made = generate(SynthConfig(cards=500, terminals=150, days=70))
    made = made.filter(pc.or_(made["fraud"], pa.array([n % OTHERS == 0 for n in range(len(made))])))
    columns = {
        "transaction_id": made["transaction_id"],
        "ts": made["occurred_us"].cast(pa.timestamp("us")),
        "amount": pc.divide(made["amount_minor"].cast("float64"), 100.0),
        "customer_id": made["card"],
        "terminal_id": made["terminal"],
        "fraud": made["fraud"].cast("int8"),
        "fraud_scenario": made["fraud"].cast("int8"),
    }
    pq.write_table(pa.table(columns), file)


def _check_of(command: str) -> Callable[[Told, str], None]:
    found = [check for words, check in CHECKS.items() if f"{command} ".startswith(f"{words} ")]
    assert len(found) == 1, f"nobody knows what {command!r} has to say: check it here, or name it with the reason"
    return found[0]


def test_every_command_of_the_documents_does_what_they_say_of_it(house: House, start: Start) -> None:
    commands = dict.fromkeys(command for path in DOCUMENTS for command in fenced(path.read_text()))
    up, *rest = [command for command in commands if not command.startswith(tuple(NOT_RUN))]
    (last,) = [command for command in rest if command.startswith(LAST)]
    # A demo's clock follows its payments, weeks in minutes: a date of the documents may be past by then.
    told = Told(house, {"127.0.0.1:8410": f"127.0.0.1:{house.port}", "2027-01-31T": "2036-01-31T"})
    _payments(house.folder / "payments.parquet")
    (example,) = re.findall(
        r"^```\n(list,entity,.*?)^```", (ROOT / "docs" / "policy.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (house.folder / "lists.csv").write_text(example)
    assert up == "make up"

    site = start(up)
    assert site.reached("decisions/s"), site.lines
    assert site.said(f"live page: http://127.0.0.1:{house.port}/#key=")
    assert re.search(r"decisions/s p50 ms p99 ms  approve .*\n +\d+ +[\d.]+ +[\d.]+ +\d+ ", "".join(site.lines))
    for command in rest:
        if command != last:
            _check_of(command)(told, command)
    site.interrupt()
    assert site.said("stopping: the gate makes everything durable"), site.lines
    assert verify(PosixDisk(house.folder / "var" / "site-1" / "journal")).ok

    real = start(told.command(last))
    assert real.reached("door: http://"), real.lines
    _till_may_decide_and_nothing_else(told)
    assert real.end(signal.SIGTERM) == 0


def _till_may_decide_and_nothing_else(told: Told) -> None:
    asked = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8410/v1/decisions -H 'authorization: Bearer "
    body: dict[str, Any] = {
        "transaction_id": "till-1",
        "occurred_at": told.house.shell("date -u +%FT%TZ").stdout.strip(),
    }
    body |= {"amount": {"minor": 990, "currency": "EUR"}, "card": "card-1", "terminal": "t-1", "merchant": "m-1"}
    sent = (
        f"{asked}{told.key}' -H 'content-type: application/json' -d '{json.dumps(body | {'channel': 'card_present'})}'"
    )

    assert told.run(sent) == "200"
    assert told.run(sent.replace('"m-1"', '"m-2"')) == "403"
    assert told.run(f"{asked}{told.key}'") == "403"
