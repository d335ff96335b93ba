"""Hostile programs against the jail: each must be contained, and none may pass its tests."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.errors import VerifierError
from proofmill.filters.domains.code import CodeVerifier
from proofmill.filters.sandbox import kernel, wire
from proofmill.filters.sandbox.jail import Exit, Jail, Limits, ProcessEnded, layers_from, missing_error
from proofmill.filters.verdicts import Problem, Verdict

pytestmark = pytest.mark.slow

SMALL = Limits(cpu_s=2.0, memory_mb=256.0)


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(2) as jail:
        yield jail


def look(jail: Jail, code: str, *expressions: str, limits: Limits = SMALL) -> tuple[list[Any], Exit]:
    """What expressions give inside, as values or `ErrorName: message`, and how the run ended."""
    seen: list[Any] = []
    with jail.slot(), jail.process(limits) as process:
        try:
            job = {"role": "serve", "setup": "", "code": textwrap.dedent(code)}
            process.send(wire.JOB, wire.dumps(job))
            process.receive()
            loaded = json.loads(process.receive()[1])
            if "ok" not in loaded:
                return [loaded["raised"][0][0]], process.close()
            process.send(wire.EVALUATE, wire.dumps(list(expressions)))
            for _ in expressions:
                answer = json.loads(process.receive()[1])
                held = wire.Decoder(str).decode(answer["ok"]) if "ok" in answer else answer["raised"][0][0]
                seen.append(held)
        except ProcessEnded:
            pass
        return seen, process.close()


ASSERTS = {"tests": ["assert f(1) == 41", "assert f(2) == 97", "assert f(3) == [5, 'x']"]}
GENERAL = {"tests": ["assert f(1) == 41", "x = f(2)\nassert x == 97", "assert list(f(3)) == [5, 'x']"]}
CHECKED = {
    "entry_point": "f",
    "test": "def check(candidate):\n"
    "    assert candidate(1) == 41\n    assert candidate(2) == 97\n    assert candidate(3) == [5, 'x']\n",
}
HONEST = "def f(n):\n    return {1: 41, 2: 97, 3: [5, 'x']}[n]\n"
KINDS = {"asserts": ASSERTS, "general": GENERAL, "check": CHECKED}
FORMS = pytest.mark.parametrize("info", KINDS.values(), ids=KINDS.keys())


def judge(jail: Jail, code: str, info: dict[str, Any], **more: Any) -> Verdict:
    problem = Problem("code", "", info={**info, "time_limit_s": 2.0, "memory_mb": 256, **more})
    return CodeVerifier(jail).verify(problem, f"```python\n{textwrap.dedent(code)}\n```")


@FORMS
def test_an_honest_solution_passes(jail: Jail, info: dict[str, Any]) -> None:
    verdict = judge(jail, HONEST, info)
    assert (verdict.verdict, verdict.tests_passed, verdict.tests_total) == ("correct", 3, 3)


CHEATS = {
    "sys_exit_at_import": "import sys\nsys.exit(0)",
    "sys_exit_in_call": "import sys\ndef f(n):\n    sys.exit(0)",
    "os_exit_at_import": "import os\nos._exit(0)",
    "os_exit_in_call": "import os\ndef f(n):\n    os._exit(0)",
    "equal_to_everything": """
        class Any:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __hash__(self): return 0
            def __len__(self): return 2
            def __iter__(self): return iter([Any(), Any()])
            def __contains__(self, item): return True
        def f(n): return Any()
    """,
    "equal_to_everything_subclass": """
        class Any(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        class Anys(list):
            def __eq__(self, other): return True
        def f(n): return Any(0) if n < 3 else Anys()
    """,
    "subclass_check_override": """
        class Meta(type):
            def __instancecheck__(cls, other): return True
            def __eq__(cls, other): return True
            __hash__ = type.__hash__
        class Any(metaclass=Meta):
            __class__ = int
            def __eq__(self, other): return True
        def f(n): return Any
    """,
    "nan_wildcard": "def f(n):\n    return float('nan') if n < 3 else [float('nan')] * 2",
    "patched_builtins": """
        import builtins
        builtins.AssertionError = type("AssertionError", (BaseException,), {})
        builtins.print = lambda *a, **k: None
        builtins.isinstance = lambda *a: True
        builtins.len = lambda x: 3
        builtins.all = builtins.any = lambda x: True
        def f(n): raise AssertionError
    """,
    "patched_operators": """
        import operator, json, sys
        for module in list(sys.modules.values()):
            for name in ("same", "matches", "numbers_equal", "truth", "loads"):
                if hasattr(module, name) and "proofmill" in getattr(module, "__name__", ""):
                    setattr(module, name, lambda *a: True)
        def f(n): return 0
    """,
    "frame_walk": """
        import sys
        def f(n):
            frame, seen = sys._getframe(), []
            while frame:
                seen += [*frame.f_locals.values(), *frame.f_globals.values()]
                frame = frame.f_back
            for item in seen:
                if isinstance(item, (str, list, tuple, dict)) and "41" in repr(item)[:100000]:
                    return 41
                if hasattr(item, "expected"): return item.expected
            return None
    """,
    "traceback_walk": """
        def f(n):
            try: raise ValueError
            except ValueError as e: tb = e.__traceback__
            while tb.tb_next: tb = tb.tb_next
            frame = tb.tb_frame
            while frame.f_back:
                frame = frame.f_back
                for value in frame.f_locals.values():
                    if "97" in repr(value)[:100000]: return 97
    """,
    "gc_objects": """
        import gc
        def f(n):
            for item in gc.get_objects():
                try:
                    if isinstance(item, (tuple, list, dict)) and 97 in item and 41 in item: return 97
                    if isinstance(item, (str,)) and "== 41" in item: return 41
                    if type(item).__name__ in ("LiteralCheck", "Plan"): return item.expected
                except Exception: pass
    """,
    "atexit_pass": """
        import atexit, os, sys
        def done():
            os.write(3, b"\\0\\0\\0\\x0cA{\\"ok\\": 41}")
            os._exit(0)
        atexit.register(done)
        def f(n): sys.exit(0)
    """,
    "prints_passed": "print('3 passed')\ndef f(n):\n    print('PASSED')\n    return 'PASSED'",
    "writes_to_channel": """
        import os
        def f(n):
            body = b'A{"ok":true}'
            for _ in range(10): os.write(3, len(body).to_bytes(4, "big") + body)
            os._exit(0)
    """,
    "forged_report": """
        import os
        for kind in b"D", b"A":
            body = kind + b'{"passed":3,"ran":3,"why":null,"gone":false,"fault":null,"ok":null}'
            for _ in range(5): os.write(3, len(body).to_bytes(4, "big") + body)
    """,
    "forged_fault": """
        import os
        body = b'F{"fault":"jail: the machine is broken"}'
        os.write(3, len(body).to_bytes(4, "big") + body)
        def f(n): return 0
    """,
    "garbage_on_channel": "import os\nos.write(3, os.urandom(100000))\ndef f(n): return 0",
    "nested_garbage": """
        import os
        body = b"A" + b"[" * 1000000
        os.write(3, len(body).to_bytes(4, "big") + body)
        def f(n): return 0
    """,
    "many_empty_objects": """
        import os
        body = b'A{"ok":[' + b'{},' * 1300000 + b'1]}'
        body = len(body).to_bytes(4, "big") + body
        def f(n):
            sent = 0
            while sent < len(body): sent += os.write(3, body[sent:])
    """,
    "colliding_set": """
        import json, os
        items = [["i", hex(((1 << 61) - 1) * k)] for k in range(1, 50000)]
        body = b"A" + json.dumps({"ok": ["s", items]}).encode()
        body = len(body).to_bytes(4, "big") + body
        def f(n):
            sent = 0
            while sent < len(body): sent += os.write(3, body[sent:])
    """,
    "long_digits": """
        import os
        body = b'A{"ok":' + b"9" * 4000000 + b"}"
        body = len(body).to_bytes(4, "big") + body
        def f(n):
            sent = 0
            while sent < len(body): sent += os.write(3, body[sent:])
    """,
    "says_the_solution_is_gone": """
        import os
        body = b'A{"gone":true,"ok":41}'
        def f(n): os.write(3, len(body).to_bytes(4, "big") + body)
    """,
    "endless_message": "import os\nos.write(3, (2**32 - 1).to_bytes(4, 'big') + b'A')\ndef f(n): return 0",
    "fake_setup_failure": """
        import sys
        for name, module in list(sys.modules.items()):
            if "test_runner" in name: raise module._SetupFailed("no fault of mine")
    """,
    "raises_import_error": "def f(n):\n    raise ImportError('the tests are broken')",
    "raises_base_exception": "class Out(BaseException): pass\ndef f(n):\n    raise Out",
    "raises_assertion": "def f(n):\n    raise AssertionError",
    "raises_stop_iteration": "def f(n):\n    raise StopIteration",
    "huge_repr": "class R:\n    def __repr__(self): return 'x' * 10**9\ndef f(n): return R()",
    "huge_repr_in_error": "class E(Exception):\n    def __str__(self): return 'x' * 10**8\ndef f(n): raise E",
    "big_integer": "def f(n):\n    return 1 << 10**8",
    "integer_string_bomb": "import sys\nsys.set_int_max_str_digits(0)\ndef f(n):\n    return 10 ** 200000",
    "deep_list": "def f(n):\n    x = []\n    for _ in range(10**5): x = [x]\n    return x",
    "cyclic_list": "def f(n):\n    x = []\n    x.append(x)\n    return x",
    "large_list": "def f(n):\n    return list(range(3 * 10**6))",
    "endless_generator": "def f(n):\n    while True: yield n",
    "kills_itself": "import os, signal\ndef f(n):\n    os.kill(os.getpid(), signal.SIGKILL)\n    os.abort()",
    "null_pointer": "import ctypes\ndef f(n):\n    ctypes.string_at(0)",
}


@FORMS
@pytest.mark.parametrize("code", CHEATS.values(), ids=CHEATS.keys())
def test_a_cheat_is_wrong(jail: Jail, code: str, info: dict[str, Any]) -> None:
    verdict = judge(jail, code, info)
    assert verdict.verdict in ("wrong", "error"), verdict


COSTLY = {
    "infinite_loop": "def f(n):\n    while True: pass",
    "infinite_loop_at_import": "while True: pass",
    "power_tower": "def f(n):\n    return 9 ** 9 ** 9",
    "ignores_signals": """
        import signal
        for number in range(1, 64):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        def f(n):
            while True:
                try:
                    while True: pass
                except BaseException: pass
    """,
    "spinning_threads": """
        import threading
        def f(n):
            for _ in range(8): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()
            while True: pass
    """,
    "deep_recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n):\n    return f(n)",
    "regex_bomb": "import re\ndef f(n):\n    return re.match(r'(a+)+$', 'a' * 60 + 'b')",
}


@pytest.fixture(scope="module")
def costly(jail: Jail) -> dict[tuple[str, str], str]:
    """What each comes to in each form, at once on both cores."""
    pairs = [(name, form) for name in COSTLY for form in KINDS]

    def verdict(pair: tuple[str, str]) -> str:
        return judge(jail, COSTLY[pair[0]], KINDS[pair[1]], time_limit_s=0.3).verdict

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(pairs, pool.map(verdict, pairs), strict=True))


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("name", COSTLY)
def test_what_never_ends_is_a_timeout(costly: dict[tuple[str, str], str], name: str, form: str) -> None:
    # Frames of a recursion without a limit fill the memory; which limit comes first is the machine's.
    assert costly[name, form] in ({"timeout", "wrong"} if name == "deep_recursion" else {"timeout"})


SPIN = "while True: pass"
KERNEL_KILLS = "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n" + SPIN


@pytest.mark.parametrize(("code", "cpu_s"), [(SPIN, 0.2), (KERNEL_KILLS, 1.2)], ids=["zygote", "kernel"])
def test_a_kill_by_a_limit_is_a_timeout_whoever_kills(jail: Jail, code: str, cpu_s: float) -> None:
    _, end = look(jail, code, limits=replace(SMALL, cpu_s=cpu_s))
    assert (end.code, end.timed_out) == (-signal.SIGKILL, True)


def test_cpu_time_and_not_wall_time_decides(jail: Jail) -> None:
    sleeper = "import time\ndef f(n):\n    time.sleep(0.5)\n    return {1: 41, 2: 97, 3: [5, 'x']}[n]"
    assert judge(jail, sleeper, ASSERTS, time_limit_s=0.5).verdict == "correct"


def test_a_memory_bomb_fails_inside(jail: Jail) -> None:
    seen, end = look(
        jail, "def f(): return len(bytearray(1 << 40)), 1\ndef g(): return len([0] * (1 << 28))", "f()", "g()"
    )
    assert seen == ["MemoryError", "MemoryError"]
    assert end.peak_mb < 400


def test_a_slow_memory_bomb_stays_below_its_limit(jail: Jail) -> None:
    _, end = look(jail, "x = []\nwhile True: x.append(bytes(1 << 20))", limits=SMALL)
    assert end.peak_mb < 400


def test_a_gigabyte_of_output_is_cut(jail: Jail) -> None:
    code = "import sys\nfor _ in range(1024): sys.stdout.write('x' * (1 << 20))"
    verdict = judge(jail, code, {"tests": [{"input": "", "output": "x"}]}, time_limit_s=10.0)
    assert verdict.verdict == "wrong"


def test_a_gigabyte_of_output_before_the_answer_is_ignored(jail: Jail) -> None:
    noisy = "import os\nfor _ in range(1024): os.write(1, b'x' * (1 << 20))\n" + HONEST
    assert judge(jail, noisy, ASSERTS, time_limit_s=10.0).verdict == "correct"


def test_a_full_scratch_folder_is_refused(jail: Jail) -> None:
    code = """
        def fill():
            for number in range(1000):
                with open(f"/tmp/{number}", "wb") as stream: stream.write(bytes(1 << 20))
    """
    assert look(jail, code, "fill()")[0] == ["OSError"]


def test_a_fork_bomb_does_not_start(jail: Jail) -> None:
    seen, _ = look(jail, "import os", "os.fork()", "os.posix_spawn('/bin/sh', ['sh'], {})", "os.system('true')")
    assert seen[:2] == ["PermissionError", "PermissionError"] or seen[:2] == [
        "PermissionError",
        "FileNotFoundError",
    ]
    assert seen[2] != 0


def test_no_program_can_be_started(jail: Jail) -> None:
    code = "import os, sys, subprocess"
    seen, _ = look(jail, code, "os.execv(sys.executable, ['python'])", "subprocess.run(['/bin/true'])")
    assert set(seen) <= {"PermissionError", "FileNotFoundError"}


def test_threads_are_allowed_but_counted(jail: Jail) -> None:
    code = """
        import threading, time
        def few():
            done = []
            threads = [threading.Thread(target=done.append, args=(i,)) for i in range(4)]
            [t.start() for t in threads]; [t.join() for t in threads]
            return len(done)
        def many():
            for number in range(5000):
                threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    """
    assert look(jail, code, "few()", "many()")[0] == [4, "RuntimeError"]


def test_threads_of_one_run_do_not_count_for_another() -> None:
    greedy = "import threading, time\ntry:\n    while True:\n        "
    greedy += "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\nexcept RuntimeError: pass"
    modest = "from concurrent.futures import ThreadPoolExecutor\ndef f():\n    with ThreadPoolExecutor(20) as pool:\n"
    modest += "        return sum(pool.map(int, '1' * 100))"
    with Jail(1) as jail, jail.slot(), jail.process(SMALL) as process:
        process.send(wire.JOB, wire.dumps({"role": "serve", "setup": "", "code": greedy}))
        assert [json.loads(process.receive()[1]) for _ in range(2)] == [{"ok": None}] * 2
        with jail.process(SMALL) as other:
            other.send(wire.JOB, wire.dumps({"role": "serve", "setup": "", "code": modest}))
            other.send(wire.EVALUATE, wire.dumps(["f()"]))
            assert [json.loads(other.receive()[1]) for _ in range(3)][2] == {"ok": 100}


def test_asyncio_works(jail: Jail) -> None:
    code = """
        import asyncio
        async def g():
            await asyncio.sleep(0.001)
            return await asyncio.to_thread(lambda: 7)
        def f(): return asyncio.run(g())
    """
    assert look(jail, code, "f()")[0] == [7]


def test_left_over_threads_end_with_the_run(jail: Jail) -> None:
    code = """
        import threading, time
        threading.Thread(target=lambda: time.sleep(1000)).start()
        def f(n): return {1: 41, 2: 97, 3: [5, 'x']}[n]
    """
    began = time.monotonic()
    assert judge(jail, code, ASSERTS).verdict == "correct"
    assert time.monotonic() - began < Limits(2.0).wall_s  # the backstop was not needed


FILES = [
    "/etc/passwd",
    "/etc/hostname",
    "/proc/1/environ",
    "/proc/self/environ",
    "/proc/self/status",
    "/sys/kernel",
]


@pytest.mark.parametrize("path", [*FILES, str(Path.home()), str(Path(__file__)), "/root", "/home", "/run", "/var"])
def test_the_machine_is_out_of_sight(jail: Jail, path: str) -> None:
    seen, _ = look(jail, "import os", f"os.path.lexists({path!r})", f"open({path!r}).read()", f"os.listdir({path!r})")
    if path == str(Path.home()) or path == "/root":  # a folder on the way to the interpreter may have to exist
        assert seen[0] is False or seen[2] in ("PermissionError", "FileNotFoundError")
    else:
        assert seen[0] is False


def test_the_project_and_its_packages_are_out_of_sight(jail: Jail) -> None:
    code = """
        import os
        found = []
        for folder, names, files in os.walk("/"):
            found += [os.path.join(folder, n) for n in files if "proofmill" in folder + n or "pytest" in n]
            if folder.endswith(("-packages",)): found += files
    """
    assert look(jail, code, "found", limits=Limits(cpu_s=10))[0] == [[]]


def test_no_environment_reaches_the_jail(jail: Jail) -> None:
    os.environ["JAIL_TEST_MARK"] = "do not tell"
    try:
        with Jail(1) as fresh:
            code = """
                import ctypes, os
                libc = ctypes.CDLL(None)
                libc.getenv.restype = ctypes.c_char_p
                found = libc.getenv(b"JAIL_TEST_MARK")
            """
            assert look(fresh, code, "found", "sorted(os.environ)")[0] == [
                None,
                ["HOME", "OPENBLAS_NUM_THREADS", "PATH"],
            ]
            for process in _family():
                block = Path(f"/proc/{process}/environ").read_bytes()
                assert block.strip(b"\0") == b""
    finally:
        del os.environ["JAIL_TEST_MARK"]


def _family() -> list[int]:
    """Process ids of this process's jails: children that run the zygote, and their children."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [os.getpid()]
    while todo:
        below = parents.get(todo.pop(), [])
        todo += below
        found += below
    return [pid for pid in found if b"zygote.main" in _read(f"/proc/{pid}/cmdline")]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def test_the_parent_can_be_neither_seen_nor_killed(jail: Jail) -> None:
    code = f"""
        import os, signal
        def hit(pid):
            try: os.kill(pid, signal.SIGKILL)
            except OSError as error: return type(error).__name__
            return "sent"
        seen = [hit({os.getpid()}), os.getppid(), os.getpid()]
        def group(): os.kill(0, 9); os.kill(-1, 9)
    """
    seen, _ = look(jail, code, "seen")
    assert seen == [["ProcessLookupError", 0, 1]]
    look(jail, code, "group()")
    assert look(jail, "", "1 + 1")[0] == [2]
    assert len(jail.probe()) > 10


BLOCKED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "io_uring_setup": (425, 425), "mount": (165, 40),
    "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "keyctl": (250, 219),
    "add_key": (248, 217), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "pivot_root": (155, 41),
    "chroot": (161, 51), "memfd_create": (319, 279), "pidfd_open": (434, 434), "socket": (41, 198),
    "connect": (42, 203), "bind": (49, 200), "shmget": (29, 194), "seccomp": (317, 277), "reboot": (169, 142),
    "open_by_handle_at": (304, 265), "kexec_load": (246, 104), "init_module": (175, 105), "personality": (135, 92),
    "setuid": (105, 146), "setpriority": (141, 140), "fanotify_init": (300, 262), "name_to_handle_at": (303, 264),
    "sendmsg": (46, 211), "recvmsg": (47, 212), "sched_setaffinity": (203, 122), "mknodat": (259, 33),
    "open_tree": (428, 428), "fsopen": (430, 430), "mount_setattr": (442, 442), "landlock_restrict_self": (446, 446),
    "process_madvise": (440, 440), "clone3": (435, 435), "execveat": (322, 281), "swapon": (167, 224),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKED)
def test_a_dangerous_system_call_is_refused(jail: Jail, name: str) -> None:
    number = BLOCKED[name][0 if os.uname().machine == "x86_64" else 1]
    code = f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        def call():
            return libc.syscall(ctypes.c_long({number}), 0, 0, 0, 0, 0, 0), ctypes.get_errno()
    """
    seen, _ = look(jail, code, "call()")
    assert seen[0][0] == -1
    assert seen[0][1] in (1, 38)  # EPERM, or ENOSYS as if the kernel had never heard of it


def test_the_channel_does_not_give_the_parent_away(jail: Jail) -> None:
    """SO_PEERPIDFD would be a handle on the process at the other end, past every namespace."""
    code = """
        import socket
        other = socket.socket(fileno=3)
        def ask(option): return other.getsockopt(1, option)
    """
    expressions = [f"ask({option})" for option in (77, 17, 59)]  # SO_PEERPIDFD, SO_PEERCRED, SO_PEERGROUPS
    assert look(jail, code, *expressions)[0] == ["PermissionError"] * 3


def test_the_host_name_and_paths_are_not_told(jail: Jail) -> None:
    assert look(jail, "import os, sys", "os.uname().nodename", "sys.argv")[0] == ["jail", [""]]


def test_new_namespaces_by_clone_are_refused(jail: Jail) -> None:
    code = """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        def call(flags):
            return libc.syscall(ctypes.c_long({nr}), flags, 0, 0, 0, 0), ctypes.get_errno()
    """.format(nr=56 if os.uname().machine == "x86_64" else 220)
    for flags in (0x10000000, 0x20000000, 0x10011, 0x11, 0x4111, 0x10010100):
        assert look(jail, code, f"call({flags})")[0] == [(-1, 1)]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("subprocesses", [False, True])
def test_the_filter_is_a_valid_program(machine: str, subprocesses: bool) -> None:
    program = kernel.filter_program(subprocesses=subprocesses, machine=machine)
    assert len(program) % 8 == 0
    assert len(program) // 8 <= 4096  # BPF_MAXINSNS
    for index in range(0, len(program), 8):
        code, yes, no = (
            int.from_bytes(program[index : index + 2], sys.byteorder),
            program[index + 2],
            program[index + 3],
        )
        if code & 0x07 == 0x05:
            assert index // 8 + 1 + max(yes, no) < len(program) // 8


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(OSError, match="no system call filter for vax"):
        kernel.filter_program(machine="vax")


def test_the_network_is_not_there(jail: Jail) -> None:
    code = "import socket"
    seen, _ = look(
        jail,
        code,
        "socket.socket()",
        "socket.create_connection(('127.0.0.1', 80))",
        "socket.getaddrinfo('localhost', 80)",
    )
    assert seen[:2] == ["PermissionError", "PermissionError"]
    assert seen[2] in ("PermissionError", "gaierror")


def test_the_root_is_read_only(jail: Jail) -> None:
    seen, _ = look(
        jail,
        "import os",
        "open('/x', 'w')", "open(os.__file__, 'a')", "os.mkdir('/dev/x')", "os.unlink('/dev/null')",
        "open('/tmp/ok', 'w').write('a')", "os.symlink('/etc', '/usr/x')", "os.chmod(os.__file__, 0o777)",
    )  # fmt: skip
    assert seen[4] == 1
    assert set(seen[:4] + seen[5:]) <= {"PermissionError", "OSError", "FileNotFoundError"}


def test_runs_do_not_see_each_other(jail: Jail) -> None:
    mark = secrets.token_hex(4)
    write = f"import random, builtins\nopen('/tmp/{mark}', 'w').close()\nbuiltins.mark = 1\nrandom.mark = 1"
    assert look(jail, write, "1")[0] == [1]
    read = "import os, random, builtins"
    assert look(jail, read, "os.listdir('/tmp')", "hasattr(builtins, 'mark')", "hasattr(random, 'mark')")[0] == [
        [], False, False,
    ]  # fmt: skip


def test_privileges_are_gone(jail: Jail) -> None:
    code = """
        import ctypes, os, struct
        libc = ctypes.CDLL(None, use_errno=True)
        head, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
        def gain(): os.setuid(0)
    """
    assert look(jail, code, "gain()", "os.getuid() != 0")[0] == ["PermissionError", True]


def test_one_solution_gives_one_result_in_every_run(jail: Jail) -> None:
    code = "import random\nwords = {'a', 'b', 'c', 'd', 'e', 'f'}"
    first = look(jail, code, "list(words)", "random.random()", "hash('x')")[0]
    with Jail(1) as other:
        assert look(other, code, "list(words)", "random.random()", "hash('x')")[0] == first


SUBPROCESS = Limits(cpu_s=5.0, memory_mb=256.0, subprocesses=True, processes=12)


@pytest.fixture(scope="module")
def wider() -> Iterator[Jail]:
    with Jail(1, allow_subprocess=True) as jail:
        yield jail


def test_subprocesses_work_where_they_are_allowed(wider: Jail) -> None:
    code = """
        import subprocess, sys, multiprocessing, os
        def child(): return subprocess.run([sys.executable, "-S", "-c", "print(6*7)"], capture_output=True).stdout
        def shell(): return subprocess.run("echo hi", shell=True, capture_output=True).stdout
        def fork():
            pid = os.fork()
            if not pid: os._exit(3)
            return os.waitpid(pid, 0)[1] >> 8
    """
    assert look(wider, code, "child()", "shell()", "fork()", limits=SUBPROCESS)[0] == [b"42\n", b"hi\n", 3]


def test_an_allowed_fork_bomb_meets_the_cap(wider: Jail) -> None:
    code = """
        import os, time
        def bomb():
            born = 0
            try:
                for _ in range(1000):
                    if os.fork() == 0: time.sleep(1000)
                    born += 1
            except OSError: pass
            return born
    """
    seen, _ = look(wider, code, "bomb()", limits=SUBPROCESS)
    assert 1 <= seen[0] < 12


def test_a_subprocess_is_jailed_too(wider: Jail) -> None:
    code = """
        import subprocess, sys
        def child(source):
            run = subprocess.run([sys.executable, "-S", "-c", source], capture_output=True, text=True)
            return run.stderr.split()[-1:]
    """
    seen, _ = look(
        wider,
        code,
        "child('open(\"/etc/passwd\")')[0]", "child('import socket; socket.socket()')[0]",
        limits=SUBPROCESS,
    )  # fmt: skip
    assert seen == ["'/etc/passwd'", "permitted"]


def test_a_daemon_does_not_outlive_its_run(wider: Jail) -> None:
    mark = secrets.token_hex(8)
    code = f"""
        import os, subprocess, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(1000)", "{mark}"])
            os._exit(0)
        time.sleep(0.5)
    """
    assert look(wider, code, "1", limits=SUBPROCESS)[0] == [1]
    lines = [_read(f"/proc/{entry.name}/cmdline") for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert not any(mark.encode() in line for line in lines)


def test_nothing_outlives_a_parent_that_is_killed() -> None:
    script = """
        import sys, time
        from proofmill.filters.sandbox.jail import Jail
        from proofmill.filters.sandbox.jail import Limits
        from proofmill.filters.sandbox import wire
        jail = Jail(1)
        with jail.slot(), jail.process(Limits()) as process:
            process.send(wire.JOB, wire.dumps({"role": "serve", "setup": "", "code": "import time\\ntime.sleep(1000)"}))
            process.receive()
            print("running", flush=True)
            time.sleep(1000)
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / ".types")}
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"running\n"
    mark = f"\0{parent.pid}\0".encode()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(200):
        left = [e.name for e in Path("/proc").iterdir() if e.name.isdigit() and mark in _read(f"{e}/cmdline")]
        if not left:
            break
        time.sleep(0.05)
    assert left == []


def test_a_dead_interpreter_is_an_error_and_is_replaced() -> None:
    others = set(_family())
    with Jail(1) as jail:
        assert look(jail, "", "1")[0] == [1]
        with jail.slot(), jail.process(SMALL) as process:
            os.kill(min(set(_family()) - others), signal.SIGKILL)
            end = process.wait()
        assert end.fault is not None
        assert look(jail, "", "2")[0] == [2]


def test_many_threads_share_one_jail(jail: Jail) -> None:
    verdicts: list[str] = []
    codes = [HONEST, "def f(n): return 0"] * 10

    def work(code: str) -> None:
        verdicts.append(judge(jail, code, CHECKED).verdict)

    threads = [threading.Thread(target=work, args=(code,)) for code in codes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (verdicts.count("correct"), verdicts.count("wrong")) == (10, 10)


def test_no_descriptor_leaks(jail: Jail) -> None:
    look(jail, "", "1")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        look(jail, "import os\nos._exit(1)")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_jail_holds_no_descriptor_but_its_own(jail: Jail) -> None:
    code = """
        import os
        def held():
            found = []
            for fd in range(4096):
                try: os.fstat(fd)
                except OSError: continue
                found.append(fd)
            return found
    """
    assert look(jail, code, "held()")[0] == [[0, 1, 2, 3]]


def test_every_layer_stands_here(jail: Jail) -> None:
    assert [layer.name for layer in jail.probe() if not layer.ok] == []
    assert jail.stamp is None


def test_a_missing_layer_is_named_with_a_remedy() -> None:
    layers = layers_from({"landlock": "Function not implemented"})
    missing = [layer for layer in layers if not layer.ok]
    error = missing_error(missing)
    assert isinstance(error, VerifierError)
    assert "landlock" in error.what
    assert "Function not implemented" in error.where
    assert "lsm=" in error.remedy


def test_without_a_layer_code_runs_only_on_request() -> None:
    """A jail inside a jail that forbids user namespaces: the real failure, not a pretended one."""
    script = """
        import sys
        from proofmill.data.errors import VerifierError
        from proofmill.filters.domains.code import CodeVerifier
        from proofmill.filters.sandbox import kernel
        from proofmill.filters.sandbox.jail import Jail
        from proofmill.filters.verdicts import Problem
        problem = Problem("code", "", info={"tests": ["assert f(1) == 2"]})
        text = "```python\\ndef f(x): return x + 1\\n```"
        open("/proc/sys/user/max_user_namespaces", "w").write("0")
        with Jail(1) as jail:
            try:
                CodeVerifier(jail).verify(problem, text)
            except VerifierError as error:
                print("refused:", error.what)
        with Jail(1, weaker=True) as jail:
            verdict = CodeVerifier(jail).verify(problem, text)
            print(verdict.verdict, "|", verdict.detail)
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / ".types")}
    run = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert "refused: model-written code can't be run safely here: the jail lacks user namespace" in run.stdout, (
        run.stderr
    )
    assert "correct | block; weaker jail, without user namespace" in run.stdout


def _readable_python() -> str | None:
    """An interpreter of 3.11 or later that any user may start."""
    for name in (getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3"):
        path = Path(name).resolve()
        open_to_all = path.exists() and all(parent.stat().st_mode & 0o001 for parent in path.parents)
        version = [name, "-c", "import sys; print(sys.version_info >= (3, 11))"]
        if open_to_all and subprocess.run(version, capture_output=True, check=False).stdout == b"True\n":
            return name
    return None


def test_an_ordinary_user_gets_the_whole_jail() -> None:
    """The same jail for a user without any privilege, from a copy of the package that this user can read."""
    python = _readable_python()
    if os.geteuid() != 0 or python is None:
        pytest.skip("not root (then all tests show it), or no interpreter that another user may start")
    script = """
        import os
        from proofmill.filters.domains.code import CodeVerifier
        from proofmill.filters.sandbox.jail import Jail
        from proofmill.filters.verdicts import Problem
        with Jail(1) as jail:
            print(os.geteuid(), [layer for layer in jail.probe() if not layer.ok])
            for test in "assert f(1) == 2", "assert abs(f(1) - 2) < 1":
                problem = Problem("code", "", info={"tests": [test]})
                print(CodeVerifier(jail).verify(problem, "```python\\ndef f(x): return x + 1\\n```").verdict)
    """
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for part in (
            "data/errors.py",
            "data/scratch.py",
            "filters/verdicts.py",
            "filters/sandbox",
            "filters/domains/code.py",
        ):
            target = Path(folder, "proofmill", part)
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (root / part).is_dir() else shutil.copy)(root / part, target)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        run = subprocess.run(
            [python, "-B", "-c", textwrap.dedent(script)],
            capture_output=True, text=True, check=False, user=65534, group=65534, extra_groups=[],
            env={"PYTHONPATH": folder}, cwd="/",
        )  # fmt: skip
    assert run.stdout == "65534 []\ncorrect\ncorrect\n", run.stderr
