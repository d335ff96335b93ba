"""A version is what its manifest says, in files that loaders read."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from proofmill.data import version_files
from proofmill.data import versions as module
from proofmill.data.errors import StoreError, UsageError
from proofmill.data.files import write_json
from proofmill.data.manifest import Manifest
from proofmill.data.tables import batches
from proofmill.data.version_files import RowWriter, VersionWriter
from proofmill.data.versions import check_files, find, names, next_number, versions

SCHEMA = pa.schema({"text": pa.string(), "stage": pa.int8()})
TERMS = {"id": pa.string(), "source": pa.string(), "license": pa.string()}


def publish(home: Path, name: str, number: int, texts: list[str]) -> Path:
    folder = home / "datasets" / name / f"v{number:04d}"
    writer = VersionWriter(folder, {"sft/train": SCHEMA, "empty/train": SCHEMA})
    writer.append("sft/train", pa.table({"text": texts, "stage": pa.nulls(len(texts), pa.int8())}))
    writer.append("empty/train", SCHEMA.empty_table())
    write_json(folder / "manifest.json", Manifest(name=name, files=writer.close()).to_json())
    return folder


def test_a_folder_without_a_manifest_is_no_version(home: Path) -> None:
    publish(home, "set", 1, ["a"])
    (publish(home, "set", 2, ["b"]) / "manifest.json").unlink()
    publish(home, "half", 1, ["c"]).joinpath("manifest.json").unlink()
    (home / "datasets" / "set" / ".v0003.7.tmp").mkdir()
    assert [version.label for version in versions(home, "set")] == ["set@v1"]
    assert names(home) == ["set"]


def test_no_folder_is_written_over_whatever_became_of_it(home: Path) -> None:
    publish(home, "set", 1, ["a"])
    assert next_number(home, "set") == 2
    (publish(home, "set", 41, ["b"]) / "manifest.json").unlink()
    assert next_number(home, "set") == 42
    assert next_number(home, "new") == 1


def test_versions_are_found_by_label(home: Path) -> None:
    for number in range(1, 12):
        publish(home, "set", number, [str(number)])
    assert find(home, "set").number == 11
    assert find(home, "set@v2").number == 2
    assert find(home, "set@v0002").number == 2


@pytest.mark.parametrize(
    ("label", "there"), [("set@v3", "set@v1"), ("sett", "other, set"), ("set@vx", "set@v1"), ("", "other, set")]
)
def test_a_version_that_is_not_there_lists_those_that_are(home: Path, label: str, there: str) -> None:
    publish(home, "set", 1, ["a"])
    publish(home, "other", 1, ["a"])
    with pytest.raises(UsageError) as caught:
        find(home, label)
    assert there in caught.value.remedy


def test_an_empty_config_has_no_file(home: Path) -> None:
    folder = publish(home, "set", 1, ["a", "b"])
    assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.parquet"))] == [
        "sft/train-00000-of-00001.parquet"
    ]


def test_big_configs_are_cut_into_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_files, "MAX_FILE_BYTES", 200_000)
    monkeypatch.setattr(version_files, "GROUP_BYTES", 50_000)
    source = random.Random(7)
    texts = [source.randbytes(100).hex() for _ in range(5000)]
    folder = publish(home, "set", 1, texts)
    files = find(home, "set").files("sft")
    assert len(files) > 2
    assert files[0].name == f"train-00000-of-{len(files):05d}.parquet"
    assert [text for path in files for text in pa.parquet.read_table(path)["text"].to_pylist()] == texts
    listed = find(home, "set").manifest.to_json()["files"]
    assert sum(item["rows"] for item in listed) == 5000
    assert {item["bytes"] for item in listed} == {(folder / item["path"]).stat().st_size for item in listed}


def test_row_groups_do_not_depend_on_how_rows_arrive(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small shards make few groups, and a group with long rows stays under what the hub's viewer reads."""
    monkeypatch.setattr(version_files, "GROUP_BYTES", 1 << 20)
    writer = VersionWriter(home, {"sft/train": SCHEMA})
    for number in range(50):
        texts = [f"{number} {place} " + "x" * 2000 for place in range(20)]
        writer.append("sft/train", pa.table({"text": texts, "stage": pa.nulls(20, pa.int8())}))
    (file,) = writer.close()
    metadata = pa.parquet.read_metadata(home / file.path)
    sizes = [metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups)]
    assert metadata.num_rows == 1000
    assert len(sizes) == 2
    assert max(sizes) < 100_000_000


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("edited", "train-00000-of-00001.parquet is damaged or was edited"),
        ("cut", "train-00000-of-00001.parquet is damaged or was edited"),
        ("gone", "train-00000-of-00001.parquet is missing"),
        ("added", "train-00001-of-00002.parquet is not in its manifest"),
    ],
)
def test_a_changed_file_is_named(home: Path, harm: str, told: str) -> None:
    folder = publish(home, "set", 1, ["a"])
    version = find(home, "set")
    check_files(version)
    path = folder / "sft" / "train-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    {
        "edited": lambda: path.write_bytes(content),
        "cut": lambda: path.write_bytes(content[:-1]),
        "gone": path.unlink,
        "added": lambda: path.with_name("train-00001-of-00002.parquet").write_bytes(content),
    }[harm]()
    with pytest.raises(StoreError, match=rf"set@v1 is not what was published: sft/{told}\.\n") as caught:
        check_files(version)
    assert str(folder) in caught.value.where


def test_every_changed_file_is_counted_and_a_broken_manifest_is_named(home: Path) -> None:
    folder = publish(home, "set", 1, ["a"])
    for number in range(7):
        (folder / f"extra{number}.parquet").touch()
    with pytest.raises(StoreError, match=r"extra4\.parquet is not in its manifest, and 2 more"):
        check_files(find(home, "set"))
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StoreError) as caught:
        find(home, "set")
    assert str(folder / "manifest.json") in caught.value.where


@pytest.mark.parametrize("backwards", [False, True])
def test_each_trace_finds_its_problem_however_they_are_batched(
    monkeypatch: pytest.MonkeyPatch, *, backwards: bool
) -> None:
    version = find(Path(__file__).parent / "stored", "stored@v1")
    whole = {found.where: found.row for found in module.recorded(version)}
    assert len({row["prompt"] for row in whole.values()}) > 1

    def one_by_one(path: Path, columns: Sequence[str]) -> list[pa.Table]:
        found = list(batches(path, columns, 1))
        return found[::-1] if backwards and path.parent.name == "traces" else found

    monkeypatch.setattr(module, "batches", one_by_one)
    assert {found.where: found.row for found in module.recorded(version)} == whole
    traces = version.files("traces")
    monkeypatch.setattr(module.Version, "files", lambda _, name: traces if name == "traces" else [])
    with pytest.raises(StoreError, match="There is no problem"):
        list(module.recorded(version))


def shards(seed: int) -> Iterator[pa.Table]:
    """Tables of all sizes, with nulls, lists, and rows taken out."""
    chance = random.Random(seed)
    schema = pa.schema({**TERMS, "n": pa.int32(), "words": pa.list_(pa.string())})
    for number in range(20):
        count = chance.choice([0, 1, 300, 1500])
        rows = [
            {
                "id": f"{number}-{row}",
                "source": chance.choice("ab"),
                "license": chance.choice(["mit", None]),
                "n": chance.choice([None, row]),
                "words": [chance.randbytes(8).hex() for _ in range(chance.randrange(4))],
            }
            for row in range(count)
        ]
        table = pa.Table.from_pylist(rows, schema)
        yield table.filter(pa.array([chance.random() < 0.6 for _ in rows], pa.bool_())) if number % 3 == 0 else table


def test_files_are_cut_where_they_always_were_whoever_wrote_the_rows(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the writer cut them that took all rows in one process: names, rows, bytes as tables."""
    monkeypatch.setattr(version_files, "MAX_FILE_BYTES", 60_000)
    monkeypatch.setattr(version_files, "GROUP_BYTES", 20_000)
    schemas = {f"sft/{split}": next(shards(1)).schema for split in ("train", "validation")}
    writer = VersionWriter(home, schemas)
    for number, table in enumerate(shards(1)):
        parts = RowWriter(writer.rows_folder / str(number), schemas)
        parts.append("sft/train", table)
        parts.append("sft/validation", table.slice(0, 3))
        writer.add(parts.close())
    cut = [[file.path, file.rows] for file in writer.close()]
    first, second, other = "train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"
    assert cut == [[f"sft/{name}.parquet", rows] for name, rows in ((first, 3372), (second, 3319), (other, 38))]
    memory = {name: found.memory for name, found in writer.contents().items()}
    assert memory == {"sft/train": 391453, "sft/validation": 2055}
    assert [path.name for path in home.iterdir()] == ["sft"]
