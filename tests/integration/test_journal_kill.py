"""A real process that journals on a real disk is killed: what it said was durable is there."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from actors.journal.disk import PosixDisk
from actors.journal.journal import Journal
from actors.journal.recovery import Owner, Recovery, open_journal
from actors.journal.verify import verify
from tidegate.clock import SystemClock
from tidegate.ids import GateId, SiteId
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 4
WRITER = """
import sys
from pathlib import Path
from tests.integration.test_journal_kill import body, opened
from tidegate.records import Kind, Lane

journal, _ = opened(Path(sys.argv[1]))
while True:
    for pos in range(journal.last_pos + 1, journal.last_pos + 8):
        journal.append([(Lane.DECISIONS, Kind.DECISION, body(pos))], 1)
    journal.commit()
    print(journal.durable_pos, flush=True)
"""


def opened(folder: Path) -> tuple[Journal, Recovery]:
    owner = Owner(SiteId("s1"), GateId("g0"), "m1")
    return open_journal(disk=PosixDisk(folder), owner=owner, clock=SystemClock(), entropy=os.urandom)


def body(pos: int) -> bytes:
    """The body that the writer gives the record at `pos`."""
    return (sha256(str(pos).encode()).digest() * 20)[:DECISION_BODY_BYTES]


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    acknowledged = 0
    for kill in range(ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                acknowledged = int(line)
                if acknowledged > 500 * (kill + 1):
                    writer.kill()
            assert writer.wait() == -9

        journal, recovery = opened(folder)
        assert not recovery.new_epoch
        assert recovery.last_pos >= acknowledged
        found = [record for _, record in journal.scan()]
        assert [record.pos for record in found] == list(range(1, recovery.last_pos + 1))
        decisions = [record for record in found if record.lane is Lane.DECISIONS]
        assert all(record.body == body(record.pos) for record in decisions)
        told = {record.kind for record in found if record.lane is not Lane.DECISIONS}
        assert told <= {Kind.EPOCH_STARTED, Kind.TAIL_CUT}
        assert verify(PosixDisk(folder)).ok
        journal.close()
