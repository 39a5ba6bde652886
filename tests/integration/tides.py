"""A site for tests of the tide: a journal on a disk, and the real uplink of it."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors.journal.disk import PosixDisk
from actors.journal.journal import Bounds, Journal
from actors.journal.recovery import Owner, open_journal
from actors.journal.tail import Tail
from actors.uplink.https import HttpsCarrier
from actors.uplink.key import new_key, public_of, signer_of
from actors.uplink.memory import MemoryFile
from actors.uplink.uplink import Uplink, Whose
from tidegate.clock import SystemClock
from tidegate.frames import Signer
from tidegate.ids import GateId, SiteId
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane, event_body

STEPS_MAX: Final = 400
CLOCK: Final = SystemClock()


@dataclass
class Site:
    """A journal on a disk, and its uplink."""

    journal: Journal
    uplink: Uplink
    signer: Signer
    public: bytes
    carrier: HttpsCarrier

    def decide(self, count: int) -> None:
        for _ in range(count):
            self.journal.append([(Lane.DECISIONS, Kind.DECISION, os.urandom(DECISION_BODY_BYTES))], CLOCK.now_us())
        self.journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, event_body({"token": "card-1"}))], CLOCK.now_us())
        self.journal.commit()

    def until_sent(self) -> None:
        for _ in range(STEPS_MAX):
            pause = self.uplink.step()
            if pause and self.uplink.standing.connected and not any(self.uplink.standing.behind.values()):
                return
            threading.Event().wait(min(pause, 1.0))
        raise AssertionError(self.uplink.standing)

    def own(self, lane: Lane) -> list[bytes]:
        return [record.to_bytes() for _, record in self.journal.scan() if record.lane is lane]

    def close(self) -> None:
        self.carrier.close()
        self.journal.close()


def opened(name: str, folder: Path, url: str, authority: str | None = None) -> Site:
    """Return a site with a new key, which nobody has enrolled yet."""
    folder.mkdir()
    pem = new_key(os.urandom)
    signer = signer_of(pem, "key")
    owner = Owner(SiteId(name), GateId("g0"), "m" * 32)
    disk, bounds = PosixDisk(folder / "journal"), Bounds(segment_bytes=1 << 20)
    journal, _ = open_journal(disk=disk, owner=owner, clock=CLOCK, entropy=os.urandom, bounds=bounds)
    carrier = HttpsCarrier(url, authority=authority)
    uplink = Uplink(
        whose=Whose(SiteId(name), GateId("g0")),
        journal=Tail(PosixDisk(folder / "journal")),
        carrier=carrier,
        memory=MemoryFile(),
        witness=MemoryFile(),
        signer=signer,
        clock=CLOCK,
        entropy=os.urandom,
    )
    return Site(journal, uplink, signer, public_of(pem, "key"), carrier)
