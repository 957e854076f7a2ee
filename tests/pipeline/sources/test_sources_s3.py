"""Inputs in an object store are found, named and read as those of a folder."""

from __future__ import annotations

import io
import random
import tarfile
import time
from pathlib import Path

import pytest

import pipeline.sources.stored
from pipeline.files.storage import StorageError, open_folder
from pipeline.sources import (
    Missing,
    RawFile,
    SequentialArchive,
    SourceChanged,
    SourceError,
    SourceReader,
    Unreadable,
    discover,
    read_source,
)
from pipeline.sources import reader as reader_module
from pipeline.sources.stored import StoredRemotely
from tests.support.s3_server import BUCKET, S3Server, s3_server

MANY = 1 << 30


def root_of(s3: S3Server, prefix: str) -> Path:
    return Path(s3.uri(f"{BUCKET}/{prefix}"))


def put(s3: S3Server, prefix: str, *keys: str) -> Path:
    for key in keys:
        s3.put(BUCKET, f"{prefix}/{key}", b"of " + key.encode())
    return root_of(s3, prefix)


def names(found) -> list[str]:
    return [file.name for file in found.files]


def make_tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each ranged read."""
    read_at, sizes = StoredRemotely.read_at, []

    def counting(self, n, offset):
        data = read_at(self, n, offset)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(StoredRemotely, "read_at", counting)
    return sizes


def test_objects_of_any_name_are_found_and_read(s3):
    keys = ["a b.pdb", "a%20b.pdb", "a+b.pdb", "x?y.pdb", "x#y.pdb", "back\\s.pdb", "é.pdb"]
    keys += ["deep/er/1abc.cif", "f", "f/g.pdb", "blank /x.pdb", "e\u0301.pdb", "a'b\"c&d.pdb"]
    root = put(s3, "odd", *keys)
    s3.put(BUCKET, "odd/zero.pdb", b"")
    s3.put(BUCKET, "oddity/no.pdb", b"of another folder")
    found = discover(root)
    assert [file.path for file in found.files] == sorted([*keys, "zero.pdb"], key=str.encode)
    assert not found.problems
    for file in found.files:
        expected = b"" if file.path == "zero.pdb" else b"of " + file.path.encode()
        assert read_source(file, root, MANY) == RawFile.from_bytes(expected)
    (file,) = (f for f in found.files if f.path == "deep/er/1abc.cif")
    assert (file.stem, file.suffix_format, file.size) == ("1abc", "cif", 19)
    assert abs(file.mtime_ns / 1e9 - time.time()) < 60


def test_hidden_keys_are_told_and_not_read(s3):
    root = put(s3, "kept", "1abc.cif", "._1abc.cif", "a/.git/x.cif", "a/.git/y.cif", "a/2abc.cif~")
    found = discover(root)
    assert names(found) == ["1abc.cif"]
    assert found.hidden == ["._1abc.cif", "a/.git", "a/2abc.cif~"]


def test_markers_of_folders_are_no_files_and_nothing_else_is_lost(s3):
    root = put(s3, "marked", "in/1abc.cif", "../2abc.cif", "./3abc.cif", "/4abc.cif", "..")
    for marker in ("marked/", "marked/in/", "marked/empty/"):
        s3.put(BUCKET, marker, b"")
    put(s3, "marked", "both", "both/", "full/")
    found = discover(root)
    assert names(found) == ["both", "full", "in/1abc.cif"]
    assert {p.name: p.reason for p in found.problems} == dict.fromkeys(
        ["../2abc.cif", "./3abc.cif", "/4abc.cif", "..", "both"], "bad-key"
    )
    (full,) = (f for f in found.files if f.path == "full")
    with pytest.raises(Missing, match="full"):
        read_source(full, root, MANY)


def test_the_output_folder_in_the_same_bucket_is_left_out(s3):
    root = put(s3, "shared", "1abc.cif", "out/shards/part.parquet", "outer/2abc.cif")
    assert names(discover(root, exclude=[root_of(s3, "shared/out")])) == [
        "1abc.cif",
        "outer/2abc.cif",
    ]
    (problem,) = discover(root_of(s3, "shared/out"), exclude=[root]).problems
    assert problem.reason == "excluded"


def test_one_object_may_be_the_input(s3):
    put(s3, "one", "1abc.cif", "2abc.cif")
    found = discover(root_of(s3, "one/2abc.cif"))
    assert names(found) == ["2abc.cif"]
    assert open_folder(found.root) == open_folder(root_of(s3, "one"))
    assert read_source(found.files[0], found.root, MANY).data == b"of 2abc.cif"


def test_members_of_a_plain_tar_are_read_by_their_ranges(s3, asked):
    members = {f"folder/{k:03d}.pdb": bytes([k]) * (1000 + k) for k in range(100)}
    packed = make_tar(members)
    s3.put(BUCKET, "tars/set.tar", packed)
    root = root_of(s3, "tars")
    found = discover(root)
    assert names(found) == [f"set.tar::{name}" for name in members]
    assert len(asked) < 5  # headers that lie close together come together
    asked.clear()
    for file in found.files[::10]:
        assert read_source(file, root, MANY).data == members[file.member]
    assert sum(asked) == sum(512 + file.size for file in found.files[::10])


def test_the_headers_of_large_members_cost_little_of_them(s3, asked):
    packed = make_tar({f"{k}.pdb": bytes(3 << 20) for k in range(5)})
    s3.put(BUCKET, "large/set.tar", packed)
    assert len(discover(root_of(s3, "large")).files) == 5
    assert sum(asked) < len(packed) / 10


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2"])
def test_a_compressed_tar_is_streamed_once_in_order(s3, asked, mode, monkeypatch):
    monkeypatch.setattr(pipeline.sources.stored, "_AHEAD", 100_000)
    rng = random.Random(0)
    members = {f"{k:02d}.pdb": rng.randbytes(20_000) for k in range(30)}
    packed = make_tar(members, mode)
    s3.put(BUCKET, f"packed-{mode[2:]}/set.tar.{mode[2:]}", packed)
    root = root_of(s3, f"packed-{mode[2:]}")
    found = discover(root)
    if mode == "w:bz2":  # no archive of ours: its content tells
        assert names(found) == ["set.tar.bz2"]
        return
    assert len(found.files) == 30
    asked.clear()
    read = list(SequentialArchive(found.files, root, MANY))
    assert [(file.member, raw.data) for file, raw in read] == list(members.items())
    assert len(packed) - 4 <= sum(asked) <= len(packed)
    assert max(asked) == 100_000


def test_a_tar_that_is_cut_off_in_a_store_says_so_by_name(s3):
    packed = make_tar({f"{k}.pdb": bytes(5000) for k in range(5)})
    s3.put(BUCKET, "cut/set.tar", packed[:12_000])
    found = discover(root_of(s3, "cut"))
    assert {p.name: p.reason for p in found.problems} == {"set.tar": "truncated-stream"}


def test_an_object_that_is_another_one_now_is_not_read(s3):
    members = {"a.pdb": b"a" * 600, "b.pdb": b"b" * 600}
    s3.put(BUCKET, "moving/set.tar", make_tar(members))
    root = put(s3, "moving", "size.pdb", "time.pdb", "gone.pdb", "same.pdb")
    found = {f.name: f for f in discover(root).files}
    s3.put(BUCKET, "moving/size.pdb", b"longer than it was")
    s3.delete(BUCKET, "moving/gone.pdb")
    time.sleep(2.1)  # stores tell times to the second
    s3.put(BUCKET, "moving/time.pdb", b"OF TIME.PDB")
    s3.put(BUCKET, "moving/set.tar", make_tar(dict(reversed(members.items()))))
    assert read_source(found.pop("same.pdb"), root, MANY).data == b"of same.pdb"
    with pytest.raises(Missing, match=r"gone\.pdb does not exist"):
        read_source(found.pop("gone.pdb"), root, MANY)
    for name, file in found.items():
        with pytest.raises(SourceChanged, match=name.split(":")[0]):
            read_source(file, root, MANY)


def test_what_a_store_does_not_give_is_an_error_of_that_file_that_may_pass(s3):
    root = put(s3, "failing", "1abc.cif", "2abc.cif")
    first, second = discover(root).files
    s3.fail("GET", "/failing/1abc.cif")
    with pytest.raises(Unreadable, match=rf"^s3://{BUCKET}/failing/1abc\.cif .*3 times") as caught:
        read_source(first, root, MANY)
    assert caught.value.transient
    assert read_source(second, root, MANY).data == b"of 2abc.cif"


def test_an_archive_that_a_store_does_not_give_is_a_problem_by_name(s3):
    s3.put(BUCKET, "failing-tar/set.tar", make_tar({"a.pdb": b"a"}))
    root = put(s3, "failing-tar", "b.pdb")
    s3.fail("GET", "/failing-tar/set.tar", 403)
    found = discover(root)
    assert names(found) == ["b.pdb"]
    assert {p.name: p.reason for p in found.problems} == {"set.tar": "unreadable"}


def test_a_store_that_does_not_answer_is_one_error():
    with s3_server() as server:
        server.make_bucket(BUCKET)
        put(server, "in", "1abc.cif")
        server.kill()
        with pytest.raises(StorageError, match="the server does not answer"):
            discover(root_of(server, "in"))
        with pytest.raises(StorageError, match="the server does not answer"):
            discover(None, root_of(server, "in/list.txt"))


def test_a_list_in_a_store_names_files_beside_it_and_by_uri(s3):
    put(s3, "listed", "1abc.cif", "deep/2abc.cif", "deep/a b?.cif", "unlisted.cif")
    s3.put(BUCKET, "elsewhere/3abc%.cif", b"of 3")
    s3.put(BUCKET, "listed/set.tar", make_tar({"m.pdb": b"m"}))
    lines = ["# mine", "1abc.cif", "", "deep/../deep/2abc.cif", "deep/a b?.cif", "gone.cif"]
    lines += [f"s3://{BUCKET}/elsewhere/3abc%25.cif", f"s3://{BUCKET}/listed/deep/2abc.cif"]
    lines += ["set.tar", "../elsewhere/3abc%.cif", "s3://nobucket/x.cif", "s3://b/x?what=no"]
    s3.put(BUCKET, "listed/list.txt", "\n".join(lines).encode())
    pdb_list = root_of(s3, "listed/list.txt")
    found = discover(None, pdb_list)
    far = f"s3://{BUCKET}/elsewhere/3abc%25.cif"
    good = ["1abc.cif", "deep/2abc.cif", "deep/a b?.cif", far, "set.tar::m.pdb"]
    assert names(found) == sorted(
        [*good, "gone.cif", "s3://nobucket/x.cif", "s3://b/x?what=no"], key=str.encode
    )
    read = {}
    for file in found.files:
        try:
            read[file.name] = read_source(file, found.root, MANY).data
        except SourceError as error:
            read[file.name] = str(error)
    absent = {f.name for f in found.files if f.size == -1}
    assert absent == set(read) - set(good)
    for name in absent:
        assert name.rpartition("/")[2].partition("?")[0] in read[name]
    assert not any(isinstance(read[name], str) for name in good)
    assert read[far] == b"of 3"
    assert {f.name: f.stem for f in found.files}[far] == "3abc%"


def test_a_list_beside_a_folder_finds_each_object_once(s3):
    root = put(s3, "twice", "1abc.cif", "2abc.cif")
    s3.put(BUCKET, "lists/list.txt", f"../twice/1abc.cif\ns3://{BUCKET}/twice/2abc.cif".encode())
    assert names(discover(root, root_of(s3, "lists/list.txt"))) == ["1abc.cif", "2abc.cif"]


def test_a_list_here_names_objects_and_files_here(s3, tmp_path):
    put(s3, "remote", "1abc.cif")
    (tmp_path / "2abc.cif").write_bytes(b"here")
    uri = s3.uri(f"{BUCKET}/remote/1abc.cif")
    (tmp_path / "list.txt").write_text(f"2abc.cif\n{uri}\n")
    found = discover(None, tmp_path / "list.txt")
    assert [file.stem for file in found.files] == ["2abc", "1abc"]
    read = [read_source(file, found.root, MANY).data for file in found.files]
    assert read == [b"here", b"of 1abc.cif"]
    # With a folder of the store beside it, its options are those of the folder.
    (tmp_path / "list.txt").write_text(f"2abc.cif\ns3://{BUCKET}/remote/1abc.cif\n")
    found = discover(root_of(s3, "remote"), tmp_path / "list.txt")
    assert names(found) == [str(tmp_path / "2abc.cif"), "1abc.cif"]
    read = [read_source(file, found.root, MANY).data for file in found.files]
    assert read == [b"here", b"of 1abc.cif"]


def test_fetching_ahead_hides_the_latency_of_a_store(s3, capsys):
    root = put(s3, "far", *(f"{k:02d}.pdb" for k in range(32)))
    files = discover(root).files
    s3.delay(0.03)
    started = time.perf_counter()
    one_by_one = [read_source(file, root, MANY) for file in files[:8]]
    alone = (time.perf_counter() - started) / 8
    started = time.perf_counter()
    with SourceReader(root, MANY) as reader:
        reader.expect(files)
        read = [reader.read(file) for file in files]
    ahead = (time.perf_counter() - started) / 32
    assert [raw.data for raw in read] == [b"of " + file.path.encode() for file in files]
    assert read[:8] == one_by_one
    with capsys.disabled():
        print(f"\n{1e3 * alone:.0f} ms a file one by one, {1e3 * ahead:.0f} ms ahead of their turn")
    assert alone > 2.5 * ahead


def test_no_more_is_fetched_ahead_than_fits(s3, monkeypatch):
    monkeypatch.setattr(reader_module, "BYTES_AHEAD", 3000)
    for k in range(10):
        s3.put(BUCKET, f"fits/{k}.pdb", bytes([k]) * (5000 if k == 4 else 1000))
    root = root_of(s3, "fits")
    files = discover(root).files
    submitted, consumed = [], []
    read = reader_module.read_source

    def noting(source, *arguments):
        submitted.append(source)
        waiting = [f for f in submitted if f not in consumed]
        assert sum(f.size for f in waiting) <= 3000 or len(waiting) == 1
        return read(source, *arguments)

    monkeypatch.setattr(reader_module, "read_source", noting)
    with SourceReader(root, MANY) as reader:
        reader.expect(files)
        for k, file in enumerate(files):
            consumed.append(file)
            assert reader.read(file).data[:1] == bytes([k])
    assert submitted == files


def test_a_file_that_fails_ahead_of_its_turn_fails_at_its_turn(s3):
    root = put(s3, "turns", "1.pdb", "2.pdb", "3.pdb")
    files = discover(root).files
    s3.delete(BUCKET, "turns/2.pdb")
    with SourceReader(root, MANY) as reader:
        reader.expect(files)
        assert reader.read(files[0]).data == b"of 1.pdb"
        with pytest.raises(Missing, match=r"2\.pdb"):
            reader.read(files[1])
        assert reader.read(files[2]).data == b"of 3.pdb"
