"""Python source as a tree, from any thread.

CPython 3.11 keeps one count of how deep a tree is for all threads of a process: two that parse at once, where the
garbage collector lets one in while the other is at work, can end in `SystemError: AST constructor recursion depth
mismatch`.
"""

from __future__ import annotations

import ast
from threading import Lock

_ONE = Lock()


def syntax_tree(source: str) -> ast.Module:
    """Return the syntax tree of a module.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse`.
    """
    with _ONE:
        return ast.parse(source)
