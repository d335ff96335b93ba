"""The progress of a run: counters that the steps raise, and two ways to show them."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.segment import Segment
from rich.text import Text

log = logging.getLogger("proofmill")
_PLAIN_SECONDS = 10.0
# what makes a terminal act, or shows text in another order than it is written
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)


def inert(text: str) -> str:
    """Return text that a terminal, a log and JSON may hold: control characters by their names."""
    return _ACTING.sub(lambda found: json.dumps(found[0])[1:-1], text)


class InertConsole(Console):
    """A console to which no text of a row can do anything, whoever prints it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of a renderable, as rich asks for them."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=inert(segment.text))


class InertFormatter(logging.Formatter):
    """Lines of a log in which no control character is left."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a log record."""
        return inert(super().format(record))


@dataclass
class Counter:
    """One line of the display: so much done of so much."""

    done: int = 0
    total: int | None = None


def listed(counts: Mapping[str, int]) -> str:
    """Return counts in words: `wrong 12, unparsed 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


@dataclass
class Drawn:
    """What one sampler draws in this run of the program.

    Attributes:
        samples, tokens, prompt_tokens: so far.
        expected: samples that it comes to.
        since: when its engine was ready; None before.
        until: when its last sample ended; None before the first.
        earlier: seconds that it drew before its engine was loaded anew.
    """

    samples: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    expected: int = 0
    since: float | None = None
    until: float | None = None
    earlier: float = 0.0

    def ready(self) -> None:
        """Note that its engine is loaded, perhaps once more."""
        self.earlier = self.seconds()
        self.since, self.until = time.monotonic(), None

    def count(self, tokens: int, prompt_tokens: int) -> None:
        """Count a finished sample."""
        self.samples, self.tokens, self.until = self.samples + 1, self.tokens + tokens, time.monotonic()
        self.prompt_tokens += prompt_tokens

    def seconds(self) -> float:
        """Return the seconds from the engine being ready to the last token."""
        return self.earlier + (self.until - self.since if self.since and self.until else 0.0)

    def tokens_per_second(self) -> float:
        """Return the rate so far; 0 before the first token."""
        return self.tokens / max(self.seconds(), 1e-9) if self.tokens else 0.0

    def seconds_left(self) -> float | None:
        """Return the seconds until it ends at the rate so far; None before the first token."""
        if not self.since or not self.tokens:
            return None
        took = self.earlier + time.monotonic() - self.since
        return (self.expected - self.samples) * took / self.samples


@dataclass
class ClusterState:
    """What the nodes of a cluster do for a run.

    Attributes:
        nodes: that judge.
        engines_up, engines_wanted: engines that are loaded, and how many there should be.
        again: shards that were lost or late, and sent to a node once more.
        open: the node that judges a shard and since when, by the shard's name.
    """

    nodes: int = 0
    engines_up: int = 0
    engines_wanted: int = 0
    again: int = 0
    open: dict[str, tuple[str, float]] = field(default_factory=dict)

    def words(self) -> str:
        """Return it in words; empty where no cluster is at work."""
        parts = [f"{self.nodes} nodes judge"] if self.nodes else []
        if self.engines_wanted:
            parts.append(f"{self.engines_up} of {self.engines_wanted} engines up")
        if self.again:
            parts.append(f"{self.again} shards sent again")
        if opened := [(since, name, node) for name, (node, since) in list(self.open.items())]:
            since, name, node = min(opened)
            parts.append(f"oldest open shard {name} on {node} for {_clock(time.monotonic() - since)}")
        return ", ".join(parts)


@dataclass
class Progress:
    """Counters of a run; safe to raise from any thread.

    Attributes:
        counters: by name, in the order in which they appear.
        samplers: by name, what each has drawn.
        accepted, judged: traces with verdict `correct`, and with any verdict.
        message: what is being waited for.
        warnings: what deserves a look.
        retries: requests that were sent to an engine again.
        restarts: how often an engine was started again.
        queues: how much waits where.
        judged_after: judges begin when sampling has ended.
        prices: what so many completion and prompt tokens cost, by sampler, where the recipe gives prices.
        cluster: what the nodes of a cluster do, where the run is on one.
    """

    counters: dict[str, Counter] = field(default_factory=dict)
    samplers: dict[str, Drawn] = field(default_factory=dict)
    accepted: int = 0
    judged: int = 0
    message: str = ""
    warnings: list[str] = field(default_factory=list)
    retries: int = 0
    restarts: int = 0
    queues: dict[str, int] = field(default_factory=dict)
    judged_after: bool = False
    prices: dict[str, Callable[[int, int], float]] = field(default_factory=dict)
    cluster: ClusterState = field(default_factory=lambda: ClusterState())
    started: float = field(default_factory=time.monotonic)
    _drawing: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, message: str) -> None:
        """Show what is going on, on the display and in the log."""
        self.message = message
        log.info(message)

    def warn(self, message: str) -> None:
        """Show what deserves a look: in the display's last line, in the log, and again at the end."""
        self.warnings.append(message)
        log.warning(message)

    def expect(self, name: str, total: int) -> None:
        """Create a counter with its total."""
        with self._lock:
            self.counters.setdefault(name, Counter()).total = total

    def expect_more(self, name: str, by: int) -> None:
        """Raise the total of a counter."""
        with self._lock:
            counter = self.counters.setdefault(name, Counter())
            counter.total = (counter.total or 0) + by

    def advance(self, name: str, by: int = 1) -> None:
        """Raise a counter."""
        with self._lock:
            self.counters.setdefault(name, Counter()).done += by

    def expect_samplers(self, names: Iterable[str]) -> None:
        """Set which samplers will draw, one after the other."""
        with self._lock:
            self.samplers = {name: self.samplers.get(name, Drawn()) for name in names}

    def sampling(self, sampler: str, missing: int) -> None:
        """Note which sampler draws from now on."""
        with self._lock:
            self._drawing = sampler
            drawn = self.samplers.setdefault(sampler, Drawn())
            drawn.expected = drawn.samples
        if missing:
            self.more_samples(missing)

    def more_samples(self, count: int) -> None:
        """Note that this many more samples are to be drawn."""
        self.expect_more("samples", count)
        self.drawn.expected += count

    def sampled(self, tokens: int, prompt_tokens: int = 0) -> None:
        """Count a finished sample."""
        with self._lock:
            self.drawn.count(tokens, prompt_tokens)
            self.counters.setdefault("samples", Counter()).done += 1

    def engine_ready(self, message: str) -> None:
        """Note that the engine is loaded, so that tokens are expected from now on."""
        self.drawn.ready()
        self.note(message)

    @property
    def drawn(self) -> Drawn:
        """What the sampler at work has drawn, or the last one."""
        return self.samplers.get(self._drawing) or Drawn()

    @property
    def tokens(self) -> int:
        """Sampled in this run of the program."""
        return sum(drawn.tokens for drawn in list(self.samplers.values()))

    def cost(self) -> str:
        """Return in words what was sampled so far, in tokens and money, and by accepted trace; empty before that."""
        if not (tokens := self.tokens):
            return ""
        parts = [f"{tokens:,} tokens"]
        if self.prices:
            drawn = [(self.prices[name], one) for name, one in list(self.samplers.items()) if name in self.prices]
            parts.append(f"cost {sum(price(one.tokens, one.prompt_tokens) for price, one in drawn):.4g}")
        if self.accepted:
            parts.append(f"{tokens / self.accepted:,.0f} tokens an accepted trace")
        return ", ".join(parts)

    def retried(self, requests: int) -> None:
        """Count requests that are sent to an engine again."""
        with self._lock:
            self.retries += requests

    def restarted(self) -> None:
        """Count an engine that is started again."""
        with self._lock:
            self.restarts += 1
        self.note("The engine is started again")

    def engines(self, up: int, wanted: int) -> None:
        """Set how many engines of a cluster are loaded, and how many there should be."""
        with self._lock:
            self.cluster.engines_up, self.cluster.engines_wanted = up, wanted

    def nodes(self, count: int) -> None:
        """Set how many nodes of a cluster judge."""
        with self._lock:
            self.cluster.nodes = count

    def shard_sent(self, name: str, node: str, *, again: bool) -> None:
        """Note that a node judges a shard from now on, perhaps after another one."""
        with self._lock:
            self.cluster.open[name] = node, time.monotonic()
            self.cluster.again += again

    def shard_ended(self, name: str) -> None:
        """Note that no node judges a shard any more."""
        with self._lock:
            self.cluster.open.pop(name, None)

    def queue(self, name: str, depth: int) -> None:
        """Set how much waits in a queue."""
        with self._lock:
            self.queues[name] = depth

    def verdicts(self, correct: int, total: int) -> None:
        """Count judged traces."""
        with self._lock:
            self.accepted += correct
            self.judged += total

    def percent(self) -> float:
        """Return how much of all counters is done, in percent; 0 while nothing is expected."""
        with self._lock:
            known = [counter for counter in self.counters.values() if counter.total]
        total = sum(counter.total or 0 for counter in known)
        return min(100.0, 100.0 * sum(counter.done for counter in known) / total) if total else 0.0

    def ends(self) -> tuple[str, float] | None:
        """Return what ends next and in how many seconds, at the rate so far; None before there is a rate."""
        left = self.drawn.seconds_left()
        if left is None or left <= 1:
            return None
        return f"sampler {self._drawing}" if len(self.samplers) > 1 else "sampling", left

    def waiting(self) -> str:
        """Return what waits in which queue, in words; empty where nothing does."""
        return ", ".join(f"{depth:,} {name}" for name, depth in list(self.queues.items()) if depth)

    def line(self) -> str:
        """Return the state in one line."""
        parts = []
        for name, counter in self.counters.items():
            parts.append(f"{name} {counter.done}" + (f"/{counter.total}" if counter.total is not None else ""))
        if self.drawn.tokens:
            parts.append(f"{self.drawn.tokens_per_second():.0f} tokens/s ({self.cost()})")
        if self.judged:
            parts.append(f"accepted {self.accepted} of {self.judged} ({self.accepted / self.judged:.0%})")
        if waiting := self.waiting():
            parts.append(f"queued: {waiting}")
        if self.retries or self.restarts:
            parts.append(f"{self.retries} retries, {self.restarts} restarts")
        if nodes := self.cluster.words():
            parts.append(nodes)
        if ends := self.ends():
            parts.append(f"{_clock(ends[1])} left")
        return " · ".join(parts)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class _Display:
    """Renders a Progress for rich's Live: a bar for each counter, and what is known besides."""

    def __init__(self, progress: Progress, title: str, console: Console) -> None:
        self._progress = progress
        self._title = title
        columns = (TextColumn("[bold]{task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def __rich__(self) -> Group:
        progress = self._progress
        for name, counter in list(progress.counters.items()):
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=counter.total)
            self._bars.update(self._tasks[name], total=counter.total, completed=counter.done)
        head = Text(f"{self._title}  {_clock(time.monotonic() - progress.started)}", style="bold cyan")
        facts = Text("  ".join(_facts(progress)), style="green")
        waiting = [Text(f"queued: {depths}", style="dim")] if (depths := progress.waiting()) else []
        waiting += [Text(nodes, style="dim")] if (nodes := progress.cluster.words()) else []
        return Group(head, self._bars.get_renderable(), facts, *waiting, Text(progress.message, style="dim"))


def _facts(progress: Progress) -> Iterator[str]:
    if progress.drawn.tokens:
        yield f"{progress.drawn.tokens_per_second():.0f} tokens/s ({progress.cost()})"
    if progress.judged:
        share = progress.accepted / progress.judged
        yield f"accepted so far {progress.accepted:,} of {progress.judged:,} ({share:.0%})"
    elif progress.judged_after:
        yield "accepted: once sampling ends (the engine computes on the judges' cores)"
    if progress.retries or progress.restarts:
        yield f"retries {progress.retries:,}, engine restarts {progress.restarts:,}"
    if ends := progress.ends():
        yield f"{ends[0]} ends in about {_clock(ends[1])}"


@contextmanager
def shown(progress: Progress, title: str, console: Console) -> Iterator[None]:
    """Show a run's progress while the block runs: live on a terminal, else a plain line now and then."""
    if console.is_terminal:
        with Live(_Display(progress, title, console), console=console, refresh_per_second=4, transient=True):
            yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_plain, args=(progress, console, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _plain(progress: Progress, console: Console, stop: threading.Event) -> None:
    last_line = ""
    while not stop.wait(_PLAIN_SECONDS if last_line else 1.0):
        line = progress.line() or progress.message
        if line != last_line:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
            last_line = line


# --- The log of a run: all that proofmill and Prefect say, in one file ---


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append all log messages to a file while the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(InertFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [log, logging.getLogger("prefect")]
    for logger in loggers:
        logger.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        log.setLevel(level)
        handler.close()


# --- How a command is written so that the reader can type it here ---


def program() -> str:
    """Return `proofmill`, or the path that this process was started by where the shell would not find that name."""
    started = sys.argv[0]
    if os.path.basename(started) != "proofmill" or shutil.which("proofmill"):  # noqa: PTH119 (a word, not a place)
        return "proofmill"
    short = os.path.relpath(started)
    return short if len(short) < len(started) else started


def typed(*words: str, home: str | None = None) -> str:
    """Return a proofmill command line, with `--home` where this command was given one."""
    place: Sequence[str] = ("--home", home) if home else ()
    return shlex.join([program(), *words, *place])
