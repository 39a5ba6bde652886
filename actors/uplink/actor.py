"""The Ray shell of an uplink: one process beside the gate, one thread that steps, and answers to who asks.

It reads the journal's files, never the gate: killed, hung or cut off, it takes nothing from a decision.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from actors.uplink.disk import FolderTexts, PosixFile, WatchedKey, read_key
from actors.uplink.https import HttpsCarrier
from actors.uplink.key import signer_of
from actors.uplink.ports import Journal
from actors.uplink.standing import STANDING_FILE, dump
from actors.uplink.uplink import Uplink, Whose
from tidegate.clock import SystemClock
from tidegate.errors import TidegateError
from tidegate.ids import GateId, SiteId
from tidegate.limits import SECOND_US, TIDE_TOLD_EVERY_US
from tidegate.settings import SiteSettings
from tidegate.tideline import COMMITTED, WITNESS

_LOG: Final = logging.getLogger(__name__)
_STOP_S: Final = 30.0

Open = Callable[[Path], Journal]


class UplinkActor:
    """Sends one gate's journal up for as long as it lives. Ray starts it again where its process ends."""

    def __init__(self, settings_json: str, open_journal: Open) -> None:
        settings = SiteSettings.model_validate_json(settings_json)
        self._stopping = threading.Event()
        self._key, self._key_name = WatchedKey(Path(settings.uplink.key)), settings.uplink.key
        self._clock = SystemClock()
        self._uplink = _made(settings, open_journal)
        self._told, self._told_us = PosixFile(Path(settings.data_dir) / STANDING_FILE), 0
        self._thread = threading.Thread(target=self._run, name="uplink")
        self._thread.start()

    def standing(self) -> dict[str, Any]:
        """Return how it does: see `Standing`."""
        told: dict[str, Any] = json.loads(dump(self._uplink.standing, self._clock.now_us()))
        return told

    def pid(self) -> int:
        """Return the process."""
        return os.getpid()

    def stop(self) -> None:
        """Send nothing more; what is under way ends."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._sign_anew()
                pause_s = self._uplink.step()
            except TidegateError as error:  # told and tried again: the journal is whole, whatever it is
                _LOG.exception("the uplink can't go on for now")
                self._uplink.standing.trouble, pause_s = error.message, 1.0
            except BaseException:  # noqa: BLE001 - a thread that ends unseen would leave the site silent for ever
                _LOG.exception("the uplink ends and is started again")
                os._exit(1)
            self._tell()
            self._stopping.wait(min(pause_s, TIDE_TOLD_EVERY_US / SECOND_US))

    def _tell(self) -> None:
        """Say once a second how it does; where that can't be written, its age tells."""
        now_us = self._clock.now_us()
        if now_us < self._told_us + TIDE_TOLD_EVERY_US:
            return
        self._told_us = now_us
        with contextlib.suppress(OSError, TidegateError):
            self._told.put(dump(self._uplink.standing, now_us))

    def _sign_anew(self) -> None:
        """Sign with the key that has taken the place of the one before, where one has."""
        pem = self._key.fresh()
        if pem is not None:
            self._uplink.sign_with(signer_of(pem, self._key_name))


def _made(settings: SiteSettings, open_journal: Open) -> Uplink:
    folder, uplink = Path(settings.data_dir), settings.uplink
    file = Path(uplink.key)
    made = Uplink(
        whose=Whose(SiteId(settings.site), GateId(settings.gate)),
        journal=open_journal(folder / "journal"),
        carrier=HttpsCarrier.of(uplink),
        memory=PosixFile(folder / "uplink" / COMMITTED),
        witness=PosixFile(folder / "uplink" / WITNESS),
        signer=signer_of(read_key(file), str(file)),
        clock=SystemClock(),
        entropy=os.urandom,
    )
    made.offer(FolderTexts(folder))
    return made
