"""States in Redis: a hash a card, a field an origin; a batch's states and its offset are one script.

All names begin with one tag, so that a cluster keeps them on one node, where a script may change them together. What a
batch changes is read first and counted here; the script then writes it only where the offset is still the one that it
was read at, so that neither a second writer nor a repeated batch counts anything twice.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import redis

from serve_apps.features.merged import folded, keys_of, reached, touched
from serve_apps.features.ports import Held, Key, State, States, UnavailableError
from tidegate.deltas import Rows
from tidegate.errors import SettingsError
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import FEATURES_CARD_AGE_S, FEATURES_SNAPSHOT_CARDS_MAX

_TAG: Final = "{tidegate.features}:"
_NEXT: Final = _TAG + "next"
_REACHED: Final = _TAG + "reached"
_TIMEOUT_S: Final = 5.0
_WRITE: Final = """
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 0 end
local age, most, states, origins = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local at = 7
for _ = 1, states do
  redis.call('HSET', ARGV[at], ARGV[at + 1], ARGV[at + 2])
  redis.call('EXPIRE', ARGV[at], age)
  redis.call('ZADD', ARGV[at + 3], 'GT', ARGV[at + 5], ARGV[at + 4])
  redis.call('ZREMRANGEBYRANK', ARGV[at + 3], 0, -most - 1)
  at = at + 6
end
for _ = 1, origins do
  if tonumber(redis.call('HGET', KEYS[2], ARGV[at]) or '0') < tonumber(ARGV[at + 1]) then
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisStore:
    """See the port; the client's connections may be used by several threads."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """Take `redis://host:port/0`, `rediss://` or `unix:///path`, and the password where there is one.

        Raises:
            SettingsError: it is no such address.
        """
        try:
            self._redis: Any = redis.Redis.from_url(
                url, password=password, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
            )
        except ValueError as error:
            raise SettingsError(f"features.redis: no address of a Redis: {error}") from None
        self._write = self._redis.register_script(_WRITE)

    def next(self) -> int:
        """Return the offset at which the log goes on; see the port."""
        with _asked():
            return int(self._redis.get(_NEXT) or 0)

    def fold(self, offset: int, rows: Rows) -> bool:
        """Count a batch's rows and note its offset; see the port."""
        at, keys = self.next(), keys_of(rows)
        if offset < at:
            return False
        changed = folded(self._before(list(dict.fromkeys(keys))), keys, rows)
        heights = reached(rows, keys)
        bounds = FEATURES_CARD_AGE_S, FEATURES_SNAPSHOT_CARDS_MAX
        told: list[Any] = [at, offset + 1, *bounds, len(changed), len(heights)]
        times = touched(rows, keys)
        for key, state in changed.items():
            told += [_card(key.card), _field(key.origin), state, _site(key.origin.site), key.card, times[key]]
        for origin, pos in heights.items():
            told += [_field(origin), pos]
        with _asked():
            done = self._write(keys=[_NEXT, _REACHED], args=told)
        if not done:
            raise UnavailableError("features: another writer folded into this Redis meanwhile; run one")
        return True

    def states(self, cards: Collection[str]) -> Held:
        """Return the states of cards; see the port."""
        asked = list(cards)
        with _asked(), self._redis.pipeline(transaction=True) as pipe:
            pipe.get(_NEXT)
            for card in asked:
                pipe.hgetall(_card(card))
            at, *found = pipe.execute()
        states: dict[str, States] = {
            card: {_origin(field): state for field, state in states.items()}
            for card, states in zip(asked, found, strict=True)
            if states
        }
        return Held(int(at or 0), states)

    def cards_of(self, site: str) -> list[str]:
        """Return the cards that a site used last; see the port."""
        with _asked():
            return [card.decode("ascii") for card in self._redis.zrange(_site(site), 0, -1)]

    def reached(self, origin: Origin) -> int:
        """Return the highest position of an origin; see the port."""
        with _asked():
            return int(self._redis.hget(_REACHED, _field(origin)) or 0)

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _before(self, keys: list[Key]) -> dict[Key, State]:
        with _asked(), self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(_card(key.card), _field(key.origin))
            found = cast("list[State | None]", pipe.execute())
        return {key: state for key, state in zip(keys, found, strict=True) if state is not None}


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise UnavailableError(f"features: Redis can't be asked: {error}") from error


def _card(card: str) -> str:
    return f"{_TAG}card:{card}"


def _site(site: str) -> str:
    return f"{_TAG}site:{site}"


def _field(origin: Origin) -> str:
    return "/".join(origin)


def _origin(field: bytes) -> Origin:
    site, gate, epoch = field.decode("ascii").split("/")
    return Origin(SiteId(site), GateId(gate), EpochId(epoch))
