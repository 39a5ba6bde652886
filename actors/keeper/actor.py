"""The Ray shell of a keeper: one process beside the gate, one thread that steps, and answers to who asks.

Killed, hung or cut off, it takes nothing from a decision: the gate goes on with what it knows, and says how old
that is.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from actors.keeper.follower import Follower
from actors.keeper.https import HttpsSource, Way
from actors.keeper.ports import Orders
from tidegate.clock import SystemClock
from tidegate.errors import TemporaryError
from tidegate.settings import SiteSettings

_LOG: Final = logging.getLogger(__name__)

OpenWay = Callable[[SiteSettings], Way]
OpenOrders = Callable[[SiteSettings], Orders]


class KeeperActor:
    """Keeps one gate up to date for as long as it lives. Ray starts it again where its process ends."""

    def __init__(self, settings_json: str, open_way: OpenWay, open_orders: OpenOrders) -> None:
        settings = SiteSettings.model_validate_json(settings_json)
        file = Path(settings.uplink.features_key)
        self._follower = Follower(
            source=HttpsSource(open_way(settings), lambda: _key(file)),
            orders=open_orders(settings),
            clock=SystemClock(),
            entropy=os.urandom,
        )
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def following(self) -> dict[str, Any]:
        """Return how it does: see `Following`."""
        return asdict(self._follower.following)

    def pid(self) -> int:
        """Return the process."""
        return os.getpid()

    def _run(self) -> None:
        pause, said = threading.Event(), ""
        while True:
            try:
                pause_s = self._follower.step()
            except BaseException:  # noqa: BLE001 - a thread that ends unseen would leave the site behind for ever
                _LOG.exception("the keeper ends and is started again")
                os._exit(1)
            trouble = self._follower.following.trouble
            if trouble and trouble != said:
                _LOG.warning("the keeper can't go on for now: %s", trouble)
            said = trouble
            pause.wait(pause_s)


def _key(file: Path) -> str:
    """Return the API key that a file holds.

    Raises:
        TemporaryError: it can't be read now, or holds none.
    """
    try:
        key = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TemporaryError(f"uplink.features_key: {file} can't be read; put an API key there") from error
    if not key or not key.isascii() or not key.isprintable():
        raise TemporaryError(f"uplink.features_key: {file} holds no API key")
    return key
