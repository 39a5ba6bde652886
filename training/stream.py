"""`python -m training.stream`: sends generated or recorded payments to a site's door, and labels as they become known.

For whoever shows a site or measures one from outside. Generated payments come at a rate, recorded ones at a speed.
"""

import argparse
import asyncio
import hashlib
import heapq
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidegate.clock import Clock, SystemClock, microseconds, rfc3339
from tidegate.errors import PermanentError
from tidegate.limits import LABEL_ID_BYTES_MAX, SECOND_US, STREAM_LABELS_PENDING_MAX, TRANSACTION_ID_BYTES_MAX
from tidegate.payment import parse_moment
from training.client import Answer, Door
from training.dataset import NEVER, Events, load_mapping, payments, read
from training.synth import SynthConfig, live
from training.tally import Tally, lines, refusals

if TYPE_CHECKING:
    from rich.console import Console

_BODY_TEXTS: Final = ("card", "terminal", "merchant", "channel", "country", "mcc", "entry_mode")
_DIGEST_BYTES: Final = 10
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")
_SOURCES: Final = {"fraud": "chargeback", "legit": "analyst"}

Pace = Callable[[int, int], float]
"""Says from a payment's number and its microseconds after the first how many seconds after the start it is due."""

Show = Callable[[Tally, Tally], None]
"""Is called with the counts of the last second and of all."""


@dataclass(frozen=True, slots=True)
class Item:
    """A payment to send: its own time, its body, the truth, and (time, verdict) of each label."""

    occurred_us: int
    body: dict[str, Any]
    fraud: bool
    verdicts: tuple[tuple[int, str], ...]


def generated(config: SynthConfig, from_us: int) -> Iterator[Item]:
    """Yield generated payments without end."""
    for row in live(config, from_us):
        occurred_us = int(str(row["occurred_us"]))
        body: dict[str, Any] = {"transaction_id": row["transaction_id"], "occurred_at": rfc3339(occurred_us)}
        body["amount"] = {"minor": row["amount_minor"], "currency": row["currency"]}
        body |= {name: row[name] for name in _BODY_TEXTS}
        yield Item(occurred_us, body, bool(row["fraud"]), _verdicts(row["label_known_us"], row["label_corrected_us"]))


def recorded(events: Events) -> Iterator[Item]:
    """Yield the payments of a file."""
    for row, body in enumerate(payments(events)):
        known, corrected = (
            None if (us := int(times[row])) == NEVER else us
            for times in (events.label_known_us, events.label_corrected_us)
        )
        yield Item(int(events.occurred_us[row]), body, bool(events.fraud[row]), _verdicts(known, corrected))


def _verdicts(known: object, corrected: object) -> tuple[tuple[int, str], ...]:
    said = ((known, "fraud"), (corrected, "legit"))
    return tuple((int(str(us)), verdict) for us, verdict in said if us is not None)


def at_rate(per_second: float) -> Pace:
    """Return the pace of so many payments a second; 0 is as fast as possible."""
    return lambda number, _after_us: number / per_second if per_second else 0.0


def at_speed(times: float) -> Pace:
    """Return the pace of the payments' own times, so many times as fast; 0 is as fast as possible."""
    return lambda _number, after_us: after_us / SECOND_US / times if times else 0.0


def tagged(one: str, tag: str, longest: int) -> str:
    """Return an id that ends in `tag`; where that is too long, a digest stands for the end of the id.

    The same id gives the same one each time. The digest is letters alone: its digits might make a card number.
    """
    if len(one) + len(tag) <= longest:
        return one + tag
    digest = hashlib.blake2b(one.encode(), digest_size=_DIGEST_BYTES).hexdigest().translate(_LETTERS)
    return f"{one[: longest - len(tag) - len(digest)]}{digest}{tag}"


class Stream:
    """Sends items at a pace over a door's connections.

    A label goes out once the payments being sent have reached its time, and after its payment was decided. Ids end in
    `tag`, so that one source can be sent again. With a `clock` payments take place at its now, without one in their own
    times.
    """

    def __init__(self, *, door: Door, clock: Clock | None, pace: Pace, connections: int, tag: str) -> None:
        self.total = Tally()
        self.second = Tally()
        self._door = door
        self._clock = clock
        self._pace = pace
        self._tag = tag
        self._connections = connections
        self._queue: asyncio.Queue[Item | dict[str, Any]] = asyncio.Queue(connections)
        self._labels: list[tuple[int, str, dict[str, Any]]] = []

    @property
    def labels_not_due(self) -> int:
        """How many labels wait for the payments to reach their time."""
        return len(self._labels)

    async def run(self, items: Iterator[Item], seconds: float | None) -> None:
        """Send until the items end or the seconds are over, and wait for what is in flight."""
        workers = [asyncio.create_task(self._work()) for _ in range(self._connections)]
        try:
            await self._feed(items, seconds)
            await self._queue.join()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _feed(self, items: Iterator[Item], seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        started, first_us = 0.0, 0
        for number, item in enumerate(items):
            if not number:
                started, first_us = loop.time(), item.occurred_us
            due = self._pace(number, item.occurred_us - first_us)
            if seconds is not None and max(due, loop.time() - started) >= seconds:
                return
            await asyncio.sleep(max(started + due - loop.time(), 0))
            while self._labels and self._labels[0][0] <= item.occurred_us:
                await self._queue.put(heapq.heappop(self._labels)[2])
            await self._queue.put(item)

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            try:
                await (self._decide(job) if isinstance(job, Item) else self._tell(job))
            finally:
                self._queue.task_done()

    async def _decide(self, item: Item) -> None:
        item.body["transaction_id"] = tagged(item.body["transaction_id"], self._tag, TRANSACTION_ID_BYTES_MAX)
        if self._clock is not None:
            item.body["occurred_at"] = rfc3339(self._clock.now_us())
        answer = await self._door.decide(item.body)
        for tally in (self.total, self.second):
            tally.decided(answer, fraud=item.fraud)
        if answer.error is None:
            self._remember(item)

    def _remember(self, item: Item) -> None:
        for number, (known_us, verdict) in enumerate(item.verdicts):
            if len(self._labels) >= STREAM_LABELS_PENDING_MAX:
                self.total.errors["label dropped"] += 1
                continue
            one = item.body["transaction_id"]
            label = tagged(one, f".{number}", LABEL_ID_BYTES_MAX)
            said = {"label_id": label, "merchant": item.body["merchant"], "transaction_id": one}
            said |= {"verdict": verdict, "source": _SOURCES[verdict], "known_at": rfc3339(known_us)}
            heapq.heappush(self._labels, (known_us, said["label_id"], said))

    async def _tell(self, said: dict[str, Any]) -> None:
        if self._clock is not None:
            said["known_at"] = rfc3339(self._clock.now_us())
        answer: Answer = await self._door.tell(said)
        for tally in (self.total, self.second):
            tally.told(answer)


async def _each_second(stream: Stream, show: Show) -> None:
    for _ in repeat(None):
        await asyncio.sleep(1)
        second, stream.second = stream.second, Tally()
        show(second, stream.total)


def _json_line(second: Tally, total: Tally) -> None:
    sys.stdout.write(json.dumps(second.numbers() | {"total": total.sent}) + "\n")
    sys.stdout.flush()


def _console() -> "Console":
    """Return where people look; stdout is for the report."""
    from rich.console import Console  # noqa: PLC0415 - bar and table alone need it

    return Console(stderr=True)


def _print_table(report: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415 - bar and table alone need it
    from rich.table import Table  # noqa: PLC0415

    table = Table("replay", "", show_edge=False)
    for row in lines(report):
        table.add_row(*row)
    Console().print(table)


@contextmanager
def _bar(length: int | None) -> Iterator[Show]:
    """Draw a progress bar; `length` is None where the stream has no end."""
    from rich import progress  # noqa: PLC0415 - the bar alone needs it

    columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TextColumn("{task.description}"))
    with progress.Progress(*columns, progress.TimeRemainingColumn(), console=_console()) as bar:
        task = bar.add_task("", total=length)

        def show(second: Tally, total: Tally) -> None:
            outcomes = "  ".join(f"{name} {count}" for name, count in sorted(total.outcomes.items()))
            p99 = second.latencies.quantile_ms(0.99)
            bar.update(task, completed=total.sent, description=f"{second.sent}/s  p99 {p99} ms  {outcomes}")

        yield show


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.stream", description=__doc__)
    parser.add_argument("--url", required=True, help="the site's door, such as http://127.0.0.1:8410")
    parser.add_argument("--key-file", type=Path, required=True, help="file that holds the API key")
    parser.add_argument("--rate", type=float, default=20.0, help="generated payments a second; 0: as fast as possible")
    parser.add_argument("--seed", type=int, default=SynthConfig().seed)
    parser.add_argument("--cards", type=int, default=SynthConfig().cards)
    parser.add_argument("--terminals", type=int, default=SynthConfig().terminals)
    parser.add_argument("--start", type=parse_moment, help="RFC 3339: where generated time begins; now if not given")
    parser.add_argument("--file", type=Path, help="send the payments of this file instead")
    parser.add_argument("--mapping", type=Path, help="its column mapping, one of configs/datasets")
    parser.add_argument("--speed", type=float, default=1.0, help="of the file; 0: as fast as possible")
    parser.add_argument("--keep-times", action="store_true", help="for a site whose clock.source is events")
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--limit", type=int, help="stop after so many payments")
    parser.add_argument("--connections", type=int, default=8)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--progress", action="store_true", help="draw a progress bar")
    shown.add_argument("--stats", choices=["json"], help="write a line a second")
    parser.add_argument("--report", choices=["json", "table"], default="json", help="how the end is told")
    return parser


class WrongTimesError(PermanentError):
    """The stream's times and the site's clock don't go together; the message says which option mends it."""

    code = "WRONG_TIMES"


async def _events_now_us(door: Door, *, keep_times: bool) -> int | None:
    """Return the now of a site whose clock follows events, None of one that follows the wall.

    Raises:
        WrongTimesError: times are to be kept for a site that follows the wall.
    """
    told = await door.clock()
    if told is not None and told[0] == "events":
        return microseconds(parse_moment(told[1]))
    if keep_times and told is not None:
        raise WrongTimesError("this site follows the wall clock: leave --keep-times out, so that payments are now")
    return None


def _shifted(items: Iterator[Item], start_us: int) -> Iterator[Item]:
    """Yield payments and their labels as far apart as they are, the first at `start_us`."""
    first = next(items, None)
    if first is None:
        return
    by_us = start_us - first.occurred_us
    for item in chain((first,), items):
        body = item.body | {"occurred_at": rfc3339(item.occurred_us + by_us)}
        verdicts = tuple((known_us + by_us, verdict) for known_us, verdict in item.verdicts)
        yield Item(item.occurred_us + by_us, body, item.fraud, verdicts)


def _source(given: argparse.Namespace, now_us: int) -> tuple[Iterator[Item], Pace, int | None]:
    """Return the payments to send, their pace, and how many they are at the most; None: without end."""
    if given.file is None:
        config = SynthConfig(seed=given.seed, cards=given.cards, terminals=given.terminals)
        items = generated(config, microseconds(given.start) if given.start else now_us)
        return islice(items, given.limit), at_rate(given.rate), given.limit
    events = read(given.file, load_mapping(given.mapping))
    length = len(events) if given.limit is None else min(len(events), given.limit)
    return islice(recorded(events), length), at_speed(given.speed), length


async def _main(given: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Run as the command line says, until the end or SIGINT or SIGTERM, and return the report."""
    now_us = clock.now_us()
    key = given.key_file.read_text().strip()
    tag = "" if given.keep_times else f".r{now_us // 1000:x}"
    async with Door(url=given.url, key=key, connections=given.connections, now_ns=time.perf_counter_ns) as door:
        events_us = await _events_now_us(door, keep_times=given.keep_times)
        items, pace, length = _source(given, now_us if events_us is None else events_us)
        if events_us is not None and not given.keep_times:
            items = _shifted(items, events_us)
        times = clock if events_us is None and not given.keep_times else None
        stream = Stream(door=door, clock=times, pace=pace, connections=given.connections, tag=tag)
        started = time.perf_counter()
        with _shown(given, length) as show:
            await _until_stopped(stream, items, given.seconds, show)
        return stream.total.report(time.perf_counter() - started, stream.labels_not_due)


def _shown(given: argparse.Namespace, length: int | None) -> AbstractContextManager[Show | None]:
    if given.progress:
        return _bar(length)
    return nullcontext(_json_line if given.stats else None)


async def _until_stopped(stream: Stream, items: Iterator[Item], seconds: float | None, show: Show | None) -> None:
    running = asyncio.create_task(stream.run(items, seconds))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    showing = asyncio.create_task(_each_second(stream, show)) if show else None
    await asyncio.wait([running])
    if showing is not None:
        showing.cancel()
    if not running.cancelled():
        running.result()
    if show:
        show(stream.second, stream.total)


def main(arguments: Sequence[str] | None = None) -> None:
    """Stream as the command line says; the last line is the report as one JSON object. 1: something was refused."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.file is None) != (given.mapping is None):
        parser.error("--file and --mapping go together")
    try:
        report = asyncio.run(_main(given, SystemClock()))
    except (PermanentError, OSError) as error:
        sys.exit(f"{getattr(error, 'code', 'FAILED')}: {error}")
    if given.report == "table":
        _print_table(report)
    else:
        sys.stdout.write(json.dumps({"report": report}) + "\n")
    if wrong := refusals(report):
        sys.exit(f"REFUSED: {wrong}; of {report['sent']:,} payments {sum(report['outcomes'].values()):,} were decided")


if __name__ == "__main__":
    main()
