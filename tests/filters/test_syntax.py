"""Python source is read alike from one thread and from many."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proofmill.filters.sandbox.formats import syntax_tree

SOURCE = "\n".join(
    f"x{n} = [(lambda a: a + {n})(y) for y in range({n}) if y % 3 or (y > 4 and y < 9)]" for n in range(40)
)


class Knot:
    """Garbage that only the collector finds, and that lets other threads in while it goes."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        time.sleep(0)


@pytest.fixture
def littered() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(20, 2, 2)
    yield
    gc.set_threshold(*before)


def faults(parse: Callable[[str], Any]) -> int:
    """How many of some parses, by several threads at once, end in an error of the interpreter."""

    def one(_: int) -> bool:
        knots = [Knot() for _ in range(20)]
        del knots
        try:
            parse(SOURCE)
        except SystemError:
            return True
        return False

    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(one, range(400)))


@pytest.mark.slow
def test_many_threads_may_parse_at_once(littered: None) -> None:
    assert faults(syntax_tree) == 0


def test_the_tree_is_that_of_the_source() -> None:
    assert next(node.name for node in syntax_tree(Path(__file__).read_text()).body if hasattr(node, "name")) == "Knot"
    with pytest.raises(SyntaxError):
        syntax_tree("x =")
