"""The index shared between machines, with a real Redis server."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasketch import MinHash, MinHashLSH
from typer.testing import CliRunner

from proofmill.data.errors import InputError, StoreError, UsageError
from proofmill.filters.near_duplicates.minhash import DedupOptions, shingle_bytes, shingle_hash, signatures
from proofmill.filters.near_duplicates.shared_index import SharedIndex
from proofmill.filters.near_duplicates.signed_parts import PairRule
from proofmill.flows.cli import app

WORDS = [f"word{number}" for number in range(120)]
FIRST, NEAR, FAR = " ".join(WORDS[:100]), " ".join(WORDS[3:103]), " ".join(WORDS[60:])
OPTIONS = DedupOptions(threshold_across=0.8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server isn't installed (apt-get install redis-server)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("redis-server didn't start within 10 s")


OTHER_MACHINE = """
import sys
from proofmill.filters.near_duplicates.minhash import DedupOptions, signatures
from proofmill.filters.near_duplicates.shared_index import SharedIndex
url, name, *texts = sys.argv[1:]
index = SharedIndex(DedupOptions(threshold_across=0.8), url, name)
index.add([f"theirs-{n}" for n in range(len(texts))], signatures(texts))
"""


def test_rows_of_another_process_are_found_and_confirmed(server):
    subprocess.run([sys.executable, "-c", OTHER_MACHINE, server, "two", FIRST, FAR], check=True)
    index = SharedIndex(OPTIONS, server, "two")
    signed = signatures([NEAR, FAR], OPTIONS)
    index.add(["mine-0", "mine-1"], signed)
    near = index.near(["mine-0", "mine-1"], signed)
    assert near == [[("theirs-0", pytest.approx(93 / 99))], [("theirs-1", 1.0)]]


def test_the_first_to_come_is_kept_and_what_repeats_it_is_not_in_the_way_of_others(server):
    index = SharedIndex(OPTIONS, server, "claims")
    further = " ".join(WORDS[6:106])  # a near-duplicate of NEAR, less so of FIRST
    assert index.claim(["a"], signatures([FIRST], OPTIONS)) == [None]
    assert index.claim(["b"], signatures([NEAR], OPTIONS)) == ["a"]
    assert index.near(["c"], signatures([further], OPTIONS)) == [[("a", pytest.approx(90 / 102))]]
    assert index.claim(["a"], signatures([FIRST], OPTIONS)) == [None]
    assert index.claim(["b"], signatures([NEAR], OPTIONS)) == ["a"]


@pytest.mark.slow
def test_two_commands_at_once_keep_one_row_of_each_cluster(server, tmp_path):
    """Both machines bring a copy of each of 40 texts; every text is kept by exactly one of them."""
    texts = [" ".join(f"t{number}w{word}" for word in range(40)) for number in range(40)]
    program = Path(sys.executable).with_name("proofmill")
    commands = []
    for machine in ("left", "right"):
        file = tmp_path / f"{machine}.jsonl"
        rows = [{"id": f"{machine}-{number}", "text": text} for number, text in enumerate(texts)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        out = ["--out", tmp_path / f"{machine}.out.jsonl", "--index", server, "--index-name", "commands"]
        commands.append(subprocess.Popen([program, "dedup", file, *out, "--workers", "1"], stdout=subprocess.DEVNULL))
    assert [command.wait(60) for command in commands] == [0, 0]
    marks = {}
    for machine in ("left", "right"):
        lines = (tmp_path / f"{machine}.out.jsonl").read_text().splitlines()
        marks[machine] = [json.loads(line)["duplicate_of"] for line in lines]
    for number, (left, right) in enumerate(zip(marks["left"], marks["right"], strict=True)):
        assert {left, right} in ({None, f"left-{number}"}, {None, f"right-{number}"})


def test_the_command_wants_rows_with_ids(server, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a b c d e f"}\n')
    words = ["dedup", tmp_path / "rows.jsonl", "--out", tmp_path / "out.jsonl", "--index", server]
    with pytest.raises(UsageError, match="need an `id` of their own"):
        CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_a_server_that_is_not_there_is_an_error_with_a_remedy():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StoreError, match="can't be used") as caught:
        SharedIndex(OPTIONS, f"redis://:secret@127.0.0.1:{port}/0")
    assert "secret" not in str(caught.value)


def test_datasketch_itself_reads_the_index(server):
    SharedIndex(OPTIONS, server, "plain").add(["a"], signatures([FIRST], OPTIONS))
    address = {"host": "127.0.0.1", "port": int(server.split(":")[2].split("/")[0])}
    storage = {"type": "redis", "basename": b"plain:lsh", "redis": address}
    bands = PairRule(0.8, None).bands(128)
    index = MinHashLSH(num_perm=128, params=bands, storage_config=storage, prepickle=False)
    query = MinHash(num_perm=128, seed=1, hashfunc=shingle_hash)
    query.update_batch(list(shingle_bytes(NEAR)))
    assert index.query(query) == [b"a"]


def test_rows_added_twice_stand_once_and_never_match_themselves(server):
    index = SharedIndex(OPTIONS, server, "twice")
    signed = signatures([FIRST], OPTIONS)
    index.add(["a"], signed)
    index.add(["a"], signed)
    assert index.near(["a"], signed) == [[]]
    assert index.near(["new"], signed) == [[("a", 1.0)]]


def test_names_keep_indexes_apart(server):
    signed = signatures([FIRST], OPTIONS)
    SharedIndex(OPTIONS, server, "mine").add(["a"], signed)
    assert SharedIndex(OPTIONS, server, "yours").near(["b"], signed) == [[]]


def test_exact_copies_are_found_at_the_highest_threshold(server):
    options = DedupOptions(threshold_across=1.0)
    index = SharedIndex(options, server, "exact")
    index.add(["a"], signatures([FIRST], options))
    assert index.near(["b", "c"], signatures([FIRST, NEAR], options)) == [[("a", 1.0)], []]


@pytest.mark.parametrize("other", [DedupOptions(permutations=64), DedupOptions(threshold_across=0.5)])
def test_an_index_of_other_options_is_refused(server, other):
    SharedIndex(OPTIONS, server, "options")
    with pytest.raises(InputError, match="was begun with"):
        SharedIndex(other, server, "options")


@pytest.mark.parametrize("url", ["http://localhost", "redis://", "localhost:6379"])
def test_a_url_of_something_else_is_refused(url):
    with pytest.raises(UsageError, match="no Redis URL"):
        SharedIndex(OPTIONS, url)
