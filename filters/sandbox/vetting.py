"""Finds evidence that a solution which shared a process with its tests may have tampered with them.

A check of the source, before any of it runs: what it imports, names and defines (`look_at`). Where the source can't
tell, stores to attributes and attributes whose name is computed, guards are woven into the compiled program
(`Guards`).

The check is conservative: what it does not know counts as evidence. Evidence costs a solution this reading, not the
verdict. Runs inside the jail, and uses nothing but the standard library.
"""

from __future__ import annotations

import ast
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

SOURCE = "<solution>"
MODULE = "solution"
MAX_FINDINGS = 5


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# modules that give no handle on the interpreter, on frames, or on what other modules do
_HARMLESS = _names(
    """
    __future__ abc argparse array ast asyncio base64 binascii bisect bz2 calendar cgi cmath codecs collections
    colorsys concurrent configparser contextlib copy csv dataclasses datetime dateutil decimal difflib email enum
    errno fnmatch fractions ftplib functools getpass glob graphlib gzip hashlib heapq hmac html http imaplib inspect
    io ipaddress itertools json keyword locale logging lzma math matplotlib mimetypes more_itertools mpmath networkx
    nltk numbers numpy operator os pandas pathlib pickle platform poplib posixpath pprint pytz queue random re regex
    reprlib scipy seaborn secrets select selectors shlex shutil signal sklearn smtplib socket socketserver
    sortedcontainers sqlite3 ssl stat statistics statsmodels string stringprep struct subprocess sympy sys tabulate
    tarfile telnetlib tempfile textwrap threading time tqdm traceback turtle types typing typing_extensions
    unicodedata urllib uu uuid warnings wave weakref xml zipfile zlib zoneinfo
    """
)
_SYS = frozenset(
    {"argv", "stdin", "stdout", "stderr", "maxsize", "setrecursionlimit", "getrecursionlimit", "version", "platform"}
    | {"version_info", "exit", "float_info", "byteorder", "getsizeof", "executable", "set_int_max_str_digits", "intern"}
    | {"getdefaultencoding", "path", "hash_info", "int_info", "maxunicode", "implementation", "getfilesystemencoding"}
)
_TRACEBACK = frozenset({"format_exc", "print_exc", "format_exception", "print_exception"})
_TYPES = frozenset({"SimpleNamespace", "NoneType", "GeneratorType", "FunctionType", "LambdaType", "MappingProxyType"})
_INSPECT = frozenset(
    {"signature", "isfunction", "isclass", "ismethod", "isbuiltin", "isgenerator", "isgeneratorfunction", "getdoc"}
    | {"iscoroutinefunction", "iscoroutine", "Parameter", "getfullargspec", "isawaitable", "ismodule", "isabstract"}
)
_SIGNAL = frozenset({"Signals", "SIGTERM", "SIGINT", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"})
_PARTS = {"signal": _SIGNAL, "sys": _SYS, "traceback": _TRACEBACK, "types": _TYPES, "inspect": _INSPECT}
"""Modules of which a part is harmless."""
# modules and members through which one reaches the tests, however one got there
_BUILTINS = frozenset({"eval", "exec", "compile", "globals", "locals", "vars", "breakpoint", "help"})
_MODULES = frozenset(
    {"builtins", "gc", "ctypes", "_ctypes", "importlib", "imp", "pkgutil", "runpy", "code", "codeop"}
    | {"_thread", "atexit", "faulthandler", "trace", "tracemalloc", "pdb", "bdb", "dis", "marshal"}
    | {"shelve", "copyreg", "unittest", "pytest", "doctest", "mock", "linecache", "pydoc", "cProfile", "profile"}
    | {"multiprocessing", "symtable", "opcode", "site", "zipimport", "_imp", "_io", "_sys", "_os", "_abc", "_warnings"}
    | {"_weakref", "_operator", "_functools", "_collections", "_builtins", "nose", "hypothesis", "proofmill"}
)
MEMBERS = _MODULES - {
    "code",
    "trace",
    "site",
    "mock",
    "profile",
} | _names(  # `ma`: what is masked equals anything to numpy.testing
    """
    CellType CodeType Formatter ForwardRef FrameSummary MaskedArray MethodType ModuleType SkipTest StackSummary
    TracebackException _current_frames _exit _getframe addaudithook ag_code ag_frame as_strided attach_mock
    call_tracing captured_stdout co_code co_consts configure_mock cr_code cr_frame ctypeslib currentframe
    displayhook exc_info excepthook exec_module extract_stack extract_tb f2py f_back f_builtins f_code f_globals
    f_locals f_trace finalize format_stack get_field get_objects get_referents get_referrers get_stack
    get_type_hints getsource gi_code gi_frame import_module inspect lambdify literal load_module locate ma
    make_dataclass masked masked_all masked_array meta_path methodcaller mock_add_spec mock_calls modules monitoring
    mro new_class parse_expr path_hooks print_exc_info print_stack register register_at_fork resolve_bases
    resolve_name return_value runcode runctx setprofile settrace side_effect stdlib sympify tb_frame tb_next testing
    unraisablehook update_wrapper vformat walk_stack walk_tb
    """
)
DUNDER_READS = frozenset(
    {"__name__", "__doc__", "__init__", "__class__", "__len__", "__getitem__", "__setitem__", "__iter__", "__next__"}
    | {"__contains__", "__str__", "__repr__", "__enter__", "__exit__", "__new__", "__post_init__", "__qualname__"}
    | {"__call__", "__add__", "__eq__", "__lt__", "__hash__", "__file__", "__main__", "__version__", "__abs__"}
    | {"__future__", "__cause__", "__delitem__", "__missing__", "__mul__", "__sub__", "__gt__", "__le__", "__ge__"}
)
_DUNDER_NAMES = frozenset({"__name__", "__file__", "__doc__", "__debug__", "__author__", "__version__", "__all__"})
# special methods of a class that tests do not name: they can't make it pass for something else
OWN_METHODS = frozenset({"__init__", "__str__", "__repr__", "__post_init__", "__enter__", "__exit__", "__slots__"})
OWN_METHODS |= frozenset({"__doc__", "__annotations__", "__match_args__", "__aenter__", "__aexit__", "__new__"})
# more of them for a class that tests do name: what it holds is what they ask it for
ASKED_METHODS = OWN_METHODS | frozenset(
    {"__len__", "__iter__", "__next__", "__contains__", "__getitem__", "__setitem__", "__delitem__", "__call__"}
    | {"__bool__", "__hash__", "__reversed__", "__missing__", "__aiter__"}
    | {"__class_getitem__", "__anext__", "__await__", "__format__"}
)
# special methods that may be any class's, with a guard around them: they are noted where tests, and not the solution
# itself, come to ask them (`Guards.special`)
_ORDERINGS = frozenset({"__lt__", "__le__", "__gt__", "__ge__"})
_UNSHOWN = frozenset({"__iter__", "__next__", "__len__", "__bool__", "__hash__", "__reversed__", "__call__"})
_UNSHOWN |= frozenset({"__getitem__", "__aiter__", "__anext__"})  # they learn no more than a function that is returned
_CONVERSIONS = frozenset({"__neg__", "__pos__", "__abs__", "__invert__", "__int__", "__float__", "__round__"})
_BINARY = frozenset({"add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor"})
_SCALINGS = frozenset(f"__{before}{name}__" for before in ("", "r", "i") for name in _BINARY - {"add", "sub"})
_ARITHMETIC = _SCALINGS | frozenset(f"__{before}{name}__" for before in ("", "r", "i") for name in ("add", "sub"))
_GUARDED = _ORDERINGS | _UNSHOWN | _CONVERSIONS | _ARITHMETIC
_GUARDED |= frozenset({"__eq__", "__ne__", "__contains__", "__setitem__", "__delitem__"})
_DATA_TYPES = (int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)
TESTS_SOURCE = "<tests>"
# keywords by which library functions set attributes, choose what equality looks at, or say whose a class is
_KEYWORDS = frozenset({"compare", "capture_locals", "namespace", "module", "eval_str"})
# kinds of data: what extends one could lie about what it holds
_DATA = frozenset(
    {"int", "float", "complex", "bool", "str", "bytes", "bytearray", "list", "tuple", "set", "frozenset", "dict"}
    | {"deque", "defaultdict", "OrderedDict", "Counter", "ChainMap", "UserDict", "UserList", "UserString", "Decimal"}
    | {"Fraction", "date", "datetime", "timedelta", "time", "array", "ndarray", "DataFrame", "Series", "Path"}
    | {"PurePath", "PosixPath", "Mapping", "MutableMapping", "Sequence", "MutableSequence", "Set", "MutableSet"}
    | {"Hashable", "Iterator", "Iterable", "Collection", "Container", "Sized", "IntEnum", "StrEnum", "IntFlag"}
    | {"Number", "Real", "Integral", "Rational", "Complex", "List", "Dict", "Tuple", "Deque", "type", "EnumMeta"}
    | {"EnumType", "ABCMeta", "partial", "StringIO", "BytesIO", "Unpickler", "Formatter", "SimpleNamespace"}
)


def is_dunder(name: str) -> bool:
    """Return whether a name is one that Python gives a meaning to."""
    return name.startswith("__") and name.endswith("__") and len(name) > 4


class _SourceVetter(ast.NodeVisitor):
    """Collects what a solution's source gives reason to doubt."""

    def __init__(self, asked: frozenset[str], given: frozenset[str]) -> None:
        self.findings: dict[str, None] = {}
        self.imports: set[str] = set()
        self._asked = asked
        self._given = given
        self._bound: set[str] = set()
        self._aliases: dict[str, str] = {}
        self._from: dict[str, str] = {}
        self._classes: set[str] = set()
        self._in_next = False

    def run(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self._bound.add(node.id)
            elif isinstance(node, ast.arg):
                self._bound.add(node.arg)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self._bound.add(node.name)
                if isinstance(node, ast.ClassDef):
                    self._classes.add(node.name)
            elif isinstance(node, ast.Import):
                self._aliases |= {a.asname or a.name.split(".")[0]: a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                self._from |= {a.asname or a.name: a.name for a in node.names}
        self.visit(tree)

    def note(self, what: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings[what] = None

    def _name(self, name: str) -> None:
        if (
            name in _BUILTINS
            or (name in _MODULES and name not in self._bound)
            or (is_dunder(name) and name not in _DUNDER_NAMES)
        ):
            self.note(f"uses {name}")

    def _member(self, name: str) -> None:
        if name in MEMBERS or name == "sys" or (is_dunder(name) and name not in DUNDER_READS):
            self.note(f"uses .{name}")

    def _imported(self, module: str) -> None:
        root = module.split(".")[0]
        self.imports.add(root)
        if root not in _HARMLESS or any(part in MEMBERS for part in module.split(".")[1:]):
            self.note(f"imports {module}")

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._imported(alias.name)
            self._binds(alias.asname)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or "."
        self._imported(module)
        allowed = _PARTS.get(module)
        for alias in node.names:
            if allowed is not None and alias.name not in allowed:
                self.note(f"imports {alias.name} from {module}")
            elif module != "__future__":
                self._member(alias.name)
            self._binds(alias.asname)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._binds(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._binds(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._binds(node.rest)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._binds(node.name)
        self.generic_visit(node)

    def _binds(self, name: str | None) -> None:
        if name is not None and is_dunder(name):
            self.note(f"binds {name}")

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._name(node.id)
            if node.id in ("type", "getattr", "setattr", "delattr", "attrgetter"):
                self.note(f"hands {node.id} on")
            if self._aliases.get(node.id) in _PARTS:
                self.note(f"hands {node.id} on")
            if node.id == "StopIteration" and not self._in_next:
                self.note("uses StopIteration outside __next__")
        elif is_dunder(node.id) and node.id not in ("__all__", "__author__", "__version__"):
            self.note(f"binds {node.id}")  # `__name__` too: it says whose the classes are that follow

    def visit_Attribute(self, node: ast.Attribute) -> None:
        allowed = None
        if isinstance(node.value, ast.Name):
            root = self._aliases.get(node.value.id, node.value.id)
            allowed = _PARTS.get(root)
        if allowed is not None and (root in self._aliases.values() or root == "sys"):
            if node.attr not in allowed:
                self.note(f"uses {root}.{node.attr}")
            return
        self._member(node.attr)
        if not isinstance(node.ctx, ast.Load) and is_dunder(node.attr):
            self.note(f"sets .{node.attr}")
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        if name == "type" and len(node.args) == 1 and not node.keywords and isinstance(function, ast.Name):
            pass
        elif name in ("getattr", "setattr", "delattr") and isinstance(function, ast.Name):
            pass  # guarded where it runs
        elif name == "attrgetter":
            if not all(isinstance(a, ast.Constant) and _plain_path(a.value) for a in node.args):
                self.note("uses attrgetter of a computed name")
        elif name in ("Enum", "IntEnum", "Flag", "IntFlag", "StrEnum") and len(node.args) > 1:
            self.note(f"makes a class by calling {name}")
        else:
            self.visit(function)
        for keyword in node.keywords:
            if keyword.arg and (is_dunder(keyword.arg) or keyword.arg in _KEYWORDS):
                self.note(f"passes {keyword.arg}")
            self.visit(keyword.value)
        for argument in node.args:
            if not (name in ("isinstance", "issubclass") and isinstance(argument, ast.Name) and argument.id == "type"):
                self.visit(argument)

    def visit_Compare(self, node: ast.Compare) -> None:
        for side in (node.left, *node.comparators):
            if not (isinstance(side, ast.Name) and side.id == "type"):
                self.visit(side)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:
            self._member(name)
            if is_dunder(name):
                self.note(f"matches .{name}")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        text = node.value.strip() if isinstance(node.value, str) and len(node.value) < 40 else ""
        if is_dunder(text) and text not in DUNDER_READS:
            self.note(f"names {text}")

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name in MEMBERS - {"register", "locate", "literal", "modules", "testing", "vformat"}:
            self.note(f"defines {node.name}")
        before, self._in_next = self._in_next, node.name == "__next__" or self._in_next
        self.generic_visit(node)
        self._in_next = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        asked = node.name in self._asked
        allowed = ASKED_METHODS if asked else OWN_METHODS
        for part in node.body:
            for name in _defined(part):
                if is_dunder(name) and name not in allowed and not _guarded(part):
                    self.note(f"class {node.name} defines {name}")
        for base in node.bases:
            self._base(node.name, base, asked)
        for keyword in node.keywords:
            value = getattr(keyword.value, "id", getattr(keyword.value, "attr", ""))
            if (keyword.arg, value) != ("metaclass", "ABCMeta"):
                self.note(f"class {node.name} has the keyword {keyword.arg}")
        parts: list[ast.AST] = [*node.decorator_list, *node.body]
        for inner in parts:
            self._part(node.name, inner)

    def _part(self, owner: str, part: ast.AST) -> None:
        if any(isinstance(inner, ast.Name) and inner.id == "InitVar" for inner in ast.walk(part)):
            self.note(f"class {owner} has an InitVar")
        if not (isinstance(part, ast.Assign) and (_defined(part) == ["__slots__"] or _guarded(part))):
            self.visit(part)

    def _base(self, owner: str, base: ast.expr, asked: bool) -> None:
        """Note an unknown base class; known are its own, exceptions, and a library's that are not kinds of data.

        A kind of data may be extended by a class that tests name; in another it could lie about what it holds.
        """
        plain = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(plain, ast.Call):
            known = getattr(plain.func, "id", getattr(plain.func, "attr", "")) == "namedtuple"
        elif isinstance(plain, ast.Name):
            known = self._known_base(plain.id, asked)
        else:
            root = plain
            while isinstance(root, ast.Attribute):
                root = root.value
            imported = isinstance(root, ast.Name) and root.id in self._aliases
            known = imported and isinstance(plain, ast.Attribute) and (asked or plain.attr not in _DATA)
        if not known:
            self.note(f"class {owner} extends {ast.unparse(base)[:40]}")
        self.visit(base)

    def _known_base(self, name: str, asked: bool) -> bool:
        if name in self._classes:
            return True
        if name not in self._from and (name in self._given or name in self._bound):
            return False
        original = self._from.get(name, name)
        if original in _DATA:
            return asked
        return name in self._from or name == "object" or name.endswith(("Error", "Exception", "Warning"))


def _plain_path(value: object) -> bool:
    return isinstance(value, str) and not any(is_dunder(p) or p in MEMBERS for p in value.split("."))


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        functions = [n.name for n in ast.walk(statement) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        stored = [n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        return functions + stored
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _guarded(part: ast.stmt) -> bool:
    """Return whether a statement of a class defines a special method in a way that a guard can be put around.

    `__radd__ = __add__` counts too: what is named twice has its guard already.
    """
    if isinstance(part, ast.Assign) and len(part.targets) == 1 and isinstance(part.targets[0], ast.Name):
        value = part.value.id if isinstance(part.value, ast.Name) else ""
        return part.targets[0].id == f"__r{value[2:]}" and value in _ARITHMETIC
    if not isinstance(part, ast.FunctionDef) or part.name not in _GUARDED:
        return False
    return all(getattr(d, "id", getattr(d, "attr", "")) == "abstractmethod" for d in part.decorator_list)


class _Weave(ast.NodeTransformer):
    """Puts the guards into a solution: every store to an attribute, every attribute of a computed name, and special
    methods of its classes."""

    def __init__(self, asked: frozenset[str]) -> None:
        self._asked = asked

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        asked = node.name in self._asked
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and _guarded(part) and not (asked and part.name in ASKED_METHODS):
                arguments: list[ast.expr] = [ast.Constant(part.name), ast.Constant(asked)]
                guard = ast.Call(ast.Name("__special__", ast.Load()), arguments, [])
                part.decorator_list.insert(0, ast.copy_location(guard, part))
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            owner = ast.Call(ast.Name("__owner__", ast.Load()), [node.value, ast.Constant(node.attr)], [])
            node.value = ast.copy_location(owner, node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr", "delattr"):
            node.func = ast.copy_location(ast.Name(f"__{node.func.id}_guard__", ast.Load()), node.func)
        for keyword in node.keywords:
            if keyword.arg is None:
                keyword.value = ast.Call(ast.Name("__keywords__", ast.Load()), [keyword.value], [])
        return node


def look_at(
    code: str, asked: frozenset[str], given: frozenset[str], tested: frozenset[str] = frozenset()
) -> tuple[Any, list[str], set[str]]:
    """Return the solution compiled with guards, the findings of the static look, and the packages that it imports.

    Args:
        code: the solution's source.
        asked: names that tests, setup or prompt use: classes among them are what is under test.
        given: names that setup defines; a class of the solution that extends one is doubted.
        tested: names that tests take from the solution: what a class of these says of itself is what they ask for.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is not Python that can be read.
    """
    tree = ast.parse(code, SOURCE)
    look = _SourceVetter(asked, given)
    look.run(tree)
    woven = ast.fix_missing_locations(_Weave(tested).visit(tree))
    return compile(woven, SOURCE, "exec", dont_inherit=True), list(look.findings), look.imports


def harmless(module: str) -> bool:
    """Return whether a module gives no handle on the interpreter."""
    return module.split(".")[0] in _HARMLESS - _PARTS.keys()


class Guards:
    """What the woven program calls; keeps the evidence."""

    def __init__(self, findings: list[str]) -> None:
        self.evidence = list(findings)

    def note(self, what: str) -> None:
        """Add one piece of evidence."""
        if len(self.evidence) < MAX_FINDINGS and what not in self.evidence:
            self.evidence.append(what)

    def names(self) -> dict[str, Callable[..., Any]]:
        """Return the globals of a woven program."""
        return {
            "__owner__": self.owner,
            "__keywords__": self._keywords,
            "__getattr_guard__": self._getattr,
            "__setattr_guard__": self._setattr,
            "__delattr_guard__": self._delattr,
            "__special__": self._special,
        }

    def _special(self, name: str, asked: bool) -> Callable[[Any], Any]:
        """Return the guard around a special method: what is said to the solution itself is its own affair.

        Args:
            name: of the method.
            asked: whether tests name its class.
        """

        def decorate(method: Any) -> Any:
            @functools.wraps(method)
            def guarded(value: Any, *others: Any, **keywords: Any) -> Any:
                result = method(value, *others, **keywords)
                silent = result is NotImplemented or name in _UNSHOWN or _asked_by_solution()
                if not silent and not (asked and _credible(name, value, others, result)):
                    self.note(f"tests meet {type(value).__name__}.{name}")
                return result

            return guarded

        return decorate

    def owner(self, value: Any, name: str) -> Any:
        """Return `value`, an attribute of which is about to be set: only a solution's own things may change so."""
        kind = type(value)
        if isinstance(value, type):
            if not is_own(value):
                self.note(f"sets {name} of the class {value.__name__}")
        elif isinstance(value, types.FunctionType):
            if value.__code__.co_filename != SOURCE:
                self.note(f"sets {name} of a function that is not its own")
        elif isinstance(value, types.ModuleType) or kind in (types.BuiltinFunctionType, types.MethodType):
            self.note(f"sets {name} of {getattr(value, '__name__', kind.__name__)}")
        elif not is_own(kind) and (callable(getattr(kind, name, None)) or _of_mock(kind, name)):
            self.note(f"hides {kind.__name__}.{name}")
        return value

    def _named(self, name: object) -> Any:
        if not isinstance(name, str) or type(name) is not str:
            self.note("an attribute whose name is no text")
        elif name in MEMBERS or name == "sys" or (is_dunder(name) and name not in DUNDER_READS):
            self.note(f"reaches for {name}")
        return name

    def _keywords(self, given: Any) -> Any:
        """Note keywords in a mapping that a call is given: `field(**{"compare": False})`."""
        for name in given if isinstance(given, dict) else ():
            if isinstance(name, str) and (is_dunder(name) or name in _KEYWORDS):
                self.note(f"passes {name}")
        return given

    def _getattr(self, value: Any, name: str, *default: Any) -> Any:
        if isinstance(value, types.ModuleType):
            self.note("takes a computed name from a module")
        return getattr(value, self._named(name), *default)

    def _setattr(self, value: Any, name: str, new: Any) -> None:
        if isinstance(name, str) and is_dunder(name):
            self.note(f"sets {name}")
        setattr(self.owner(value, self._named(name)), name, new)

    def _delattr(self, value: Any, name: str) -> None:
        delattr(self.owner(value, self._named(name)), name)


def _asked_by_solution() -> bool:
    """Return whether the solution stands nearer to a special method that is called than the tests do."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename in (SOURCE, TESTS_SOURCE):
            return frame.f_code.co_filename == SOURCE
        frame = frame.f_back
    return False


def _credible(name: str, value: Any, others: tuple[Any, ...], result: Any) -> bool:
    """Return whether tests may believe what a class that they name says of two of its objects.

    Equal objects must be of one state; an order is the class's own affair, and so are sums and products of its objects
    and conversions to numbers. About anything that is not its own it is not asked, but for products.
    """
    own = bool(others) and is_own(type(others[0]))
    if name in ("__eq__", "__ne__"):
        if type(result) is not bool:
            return False
        equal = result is (name == "__eq__")
        return equal is _same_state(value, others[0]) if own else not equal
    if name in _ORDERINGS:
        return own and type(result) is bool
    return name in _CONVERSIONS or name in _SCALINGS or (name in _ARITHMETIC and own)


def _same_state(one: Any, other: Any) -> bool:
    """Return whether two objects are of one class and hold the same; what holds nothing has no state to compare."""
    if type(one) is not type(other) or isinstance(one, _DATA_TYPES):
        return False
    mine, theirs = _state(one), _state(other)
    try:
        return bool(mine) and bool(mine == theirs)
    except Exception:  # noqa: BLE001 - foreign comparison: what can't be compared is not equal
        return False


def _state(value: Any) -> dict[str, Any]:
    slots = [s for kind in type(value).__mro__ for s in _texts(vars(kind).get("__slots__", ())) if hasattr(value, s)]
    return {name: getattr(value, name) for name in slots} | dict(getattr(value, "__dict__", {}))


def _texts(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else [s for s in slots if isinstance(s, str) and not is_dunder(s)]


def _of_mock(kind: type, name: str) -> bool:
    """Return whether an attribute is a mock's record of how it was called."""
    return kind.__module__ == "unittest.mock" and (name.startswith(("call", "assert")) or name.endswith("_calls"))


def is_own(kind: type) -> bool:
    """Return whether a class was made by the solution: only then is the module of that name the running one."""
    return getattr(kind, "__module__", None) == MODULE
