"""Makes one program of an answer in several blocks: the chosen block, and what it lacks from the blocks before.

The rule: a name that the block (or a test) uses and neither it, the problem nor Python defines is taken from the
last earlier block that defines it, and so is what that definition needs. Nothing else of a draft is run. Runs in
a jail of its own, since a model's code is parsed here.
"""

from __future__ import annotations

import builtins
import symtable
from typing import Any

from proofmill.filters.sandbox import wire

_PYTHON = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def names(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """The global names that `source` reads and doesn't bind itself, and those that it binds.

    Raises:
        SyntaxError: it is no Python.
    """
    top = symtable.symtable(source, "<names>", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    read, tables = set[str](), [top]
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        read |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    return frozenset(read - bound), frozenset(bound)


def joined(code: str, earlier: list[str], needed: frozenset[str], known: frozenset[str]) -> str:
    """The program.

    Args:
        code: the chosen block.
        earlier: the blocks before it, in order.
        needed: names that the tests ask of it.
        known: names that the problem's own setup binds.
    """
    try:
        free, bound = names(code)
    except _UNREADABLE:
        return code
    wanted = (free | needed) - bound - known - _PYTHON
    taken = _taken(wanted, _definitions(earlier), known | bound) if wanted else []
    return _behind_future("\n\n".join(taken), code) if taken else code


def _definitions(blocks: list[str]) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """Functions, classes, imports and assignments of the blocks: source, names read, names bound."""
    import ast

    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
    found = []
    for block in blocks:
        try:
            statements = [ast.unparse(node) for node in ast.parse(block).body if isinstance(node, kinds)]
            found += [(text, *names(text)) for text in statements]
        except _UNREADABLE:
            continue  # a sketch, or an output that was marked as Python
    return found


def _taken(
    wanted: frozenset[str], definitions: list[tuple[str, frozenset[str], frozenset[str]]], known: frozenset[str]
) -> list[str]:
    places = {name: place for place, (_, _, bound) in enumerate(definitions) for name in bound}  # the last wins
    open_names, seen, chosen = set(wanted), set(wanted), set[int]()
    while open_names:
        place = places.get(open_names.pop())
        if place is not None and place not in chosen:
            chosen.add(place)
            more = definitions[place][1] - known - _PYTHON - seen
            seen |= more
            open_names |= more
    return [definitions[place][0] for place in sorted(chosen)]


def _behind_future(before: str, code: str) -> str:
    """`before`, then `code`; imports from `__future__` stay first, as Python wants them."""
    import ast

    ends = [
        n.end_lineno or 0 for n in ast.parse(code).body if isinstance(n, ast.ImportFrom) and n.module == "__future__"
    ]
    lines = code.split("\n")
    cut = max(ends, default=0)
    return "\n".join([*lines[:cut], before, "", *lines[cut:]])


def join(channel: wire.Link, job: dict[str, Any]) -> None:
    """Answer with the program of the job."""
    known = frozenset(job["known"])
    channel.send(wire.DONE, {"ok": joined(job["code"], job["earlier"], frozenset(job["needed"]), known)})
