"""Inputs are found, named and read: folders, lists and tar archives, none of them ever written."""

import gzip
import hashlib
import io
import os
import random
import tarfile
import time
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.sources.archive
from pipeline.built.records import records_beside
from pipeline.sources import (
    CorruptStream,
    Missing,
    RawFile,
    SequentialArchive,
    SourceChanged,
    SourceError,
    TooLarge,
    TruncatedStream,
    Unreadable,
    discover,
    group_entries,
    read_source,
)
from pipeline.sources.stored import StoredHere
from pipeline.sources.tar import TarChunkStream, TarFileStream, iter_members

MANY = 1 << 30


def write(path, data=b"data_x\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(found):
    return [file.name for file in found.files]


def reasons(found):
    return {problem.name: problem.reason for problem in found.problems}


def snapshot(folder):
    """Everything that a write could change; access times are the system's."""
    state = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content).hexdigest()
        state[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino, digest)
    return state


# --- folders -------------------------------------------------------------------------------------


def test_every_regular_file_of_nested_folders_is_found_in_bytewise_order(tmp_path):
    paths = ["ab/pdb1abc.ent.gz", "ab/1abc.cif", "b", "B.txt", "a/é.pdb", "a.b/x.cif", "ab.cif"]
    for path in paths:
        write(tmp_path / path)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.cif")
    found = discover(tmp_path)
    assert names(found) == sorted(paths, key=os.fsencode)
    assert not found.problems
    file = found.files[-2]
    assert (file.path, file.stem, file.suffix_format) == ("ab/pdb1abc.ent.gz", "1abc", "pdb")
    status = (tmp_path / file.path).stat()
    assert (file.size, file.mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_the_output_folder_is_left_out(tmp_path):
    write(tmp_path / "1abc.cif")
    write(tmp_path / "out/shards/part-00000.parquet")
    write(tmp_path / "outer/2abc.cif")
    (tmp_path / "link").symlink_to("out")
    (tmp_path / "3abc.cif").symlink_to("out/shards/part-00000.parquet")
    found = discover(tmp_path, exclude=[tmp_path / "out", tmp_path / "not_there"])
    assert names(found) == ["1abc.cif", "outer/2abc.cif"]
    assert reasons(discover(tmp_path / "out", exclude=[tmp_path])) == {
        str(tmp_path / "out"): "excluded"
    }


def test_what_a_download_keeps_beside_its_files_is_no_input(tmp_path):
    for path in ("1abc.cif", ".fetch/scratch/2abc.part", "deep/.fetch/fetch.csv", "deep/.fetched"):
        write(tmp_path / path)
    found = discover(tmp_path)
    assert (names(found), found.hidden) == (["1abc.cif"], ["deep/.fetched"])


HIDDEN = ["._1abc.cif", ".2abc.cif", ".git/a/in.cif", "1abc.cif~", "deep/#1abc.cif#", "deep/.x/y"]


def test_hidden_files_and_editors_backups_of_a_folder_are_told_and_not_read(tmp_path):
    for path in ("1abc.cif", "deep/2abc.cif", "#", *HIDDEN):
        write(tmp_path / path)
    found = discover(tmp_path)
    assert names(found) == ["#", "1abc.cif", "deep/2abc.cif"]
    told = ["._1abc.cif", ".2abc.cif", ".git", "1abc.cif~", "deep/#1abc.cif#", "deep/.x"]
    assert (found.hidden, found.problems, found.aliases) == (sorted(told), [], [])
    rows = [(row.input, row.status, row.reason) for row in records_beside(found)]
    assert rows == [(name, "skipped", "hidden") for name in sorted(told)]


def test_copies_of_before_a_change_are_told_and_not_read(tmp_path):
    copies = ["1abc.cif.bak", "1abc.cif.gz.orig", "2abc.pdb.OLD", "3abc.cif.swp", "set.tar.bak"]
    for path in ("1abc.cif", "4old", "bak.cif", "model.001", "x.old/6abc.cif", *copies):
        write(tmp_path / path)
    make_tar(tmp_path / "set.tar", {"5abc.cif": b"data_x\n", "5abc.cif.bak": b"data_x\n"})
    found = discover(tmp_path)
    assert names(found) == [
        "1abc.cif",
        "4old",
        "bak.cif",
        "model.001",
        "set.tar::5abc.cif",
        "x.old/6abc.cif",
    ]
    assert (found.hidden, found.problems) == ([*copies, "set.tar::5abc.cif.bak"], [])
    rows = [(row.input, row.status, row.reason) for row in records_beside(found)]
    assert rows == [(name, "skipped", "hidden") for name in found.hidden]


def test_what_is_named_by_itself_is_read_though_hidden(
    tmp_path,
):
    for path in (".in/1abc.cif", ".2abc.cif", "3abc.cif~"):
        write(tmp_path / path)
    found = discover(tmp_path / ".in")
    assert (names(found), found.hidden) == (["1abc.cif"], [])
    (tmp_path / "list").write_text(".2abc.cif\n3abc.cif~\n.in/1abc.cif\n")
    found = discover(None, tmp_path / "list")
    assert (names(found), found.hidden) == ([".2abc.cif", ".in/1abc.cif", "3abc.cif~"], [])
    assert names(discover(tmp_path / ".2abc.cif")) == [".2abc.cif"]


def test_links_to_what_is_kept_in_a_hidden_folder_are_inputs(tmp_path):
    for path in (".store/1abc.cif", ".store/blob", ".store/more/3abc.cif"):
        write(tmp_path / path)
    for link, target in {
        "1abc.cif": ".store/1abc.cif",
        "2abc.cif": ".store/blob",
        "more": ".store/more",
        ".4abc.cif": ".store/blob",
    }.items():
        (tmp_path / link).symlink_to(target)
    found = discover(tmp_path)
    assert names(found) == ["1abc.cif", "2abc.cif", "more/3abc.cif"]
    assert (found.hidden, found.aliases) == ([".4abc.cif", ".store"], [])


def test_hidden_members_of_an_archive_are_told_and_not_read(tmp_path):
    make_tar(tmp_path / "set.tar", {f"./{path}": b"data_x\n" for path in ("1abc.cif", *HIDDEN)})
    found = discover(tmp_path)
    assert names(found) == ["set.tar::./1abc.cif"]
    assert (len(found.hidden), found.problems) == (len(HIDDEN), [])
    assert "set.tar::./.git" in found.hidden


def test_links_are_followed_and_loops_are_not(tmp_path):
    root = tmp_path / "in"
    write(root / "a/1abc.cif")
    write(tmp_path / "elsewhere/deep/2abc.cif")
    (tmp_path / "elsewhere/back").symlink_to(root)
    (root / "far").symlink_to(tmp_path / "elsewhere")
    (root / "a/loop").symlink_to(".")
    (root / "a/up").symlink_to("..")
    (root / "self").symlink_to("self")
    (root / "all").symlink_to(tmp_path)
    (root / "gone.cif").symlink_to("nowhere")
    found = discover(root)
    assert names(found) == ["a/1abc.cif", "far/deep/2abc.cif"]
    assert reasons(found) == {
        "all": "loop",
        "a/up": "loop",
        "far/back": "loop",
        "gone.cif": "missing",
        "self": "loop",
    }
    assert found.aliases == ["a/loop"]
    for file in found.files:
        assert read_source(file, root, MANY).data == b"data_x\n"


def test_a_real_file_is_found_once_per_file_name(tmp_path):
    root = tmp_path / "in"
    write(root / "z/1abc.cif")
    (root / "a").mkdir()
    (root / "a/1abc.cif").symlink_to("../z/1abc.cif")  # the same name: an alias
    (root / "all").symlink_to("z")  # a folder that is found anyway
    (root / "renamed.cif").symlink_to("z/1abc.cif")
    os.link(root / "z/1abc.cif", root / "2abc.cif")  # deduplicated storage
    far = write(tmp_path / "mirror/3abc.cif")
    for folder in ("p", "q"):
        (root / folder).mkdir()
        (root / folder / "3abc.cif").symlink_to(far)
    (root / "y").symlink_to(tmp_path / "mirror")
    found = discover(root)
    assert names(found) == ["2abc.cif", "p/3abc.cif", "renamed.cif", "z/1abc.cif"]
    assert found.aliases == ["a/1abc.cif", "all", "q/3abc.cif", "y/3abc.cif"]


def test_an_unreadable_subfolder_is_a_problem_and_the_rest_is_found(tmp_path, monkeypatch):
    write(tmp_path / "good/1abc.cif")
    write(tmp_path / "secret/2abc.cif")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = discover(tmp_path)
    assert names(found) == ["good/1abc.cif"]
    assert reasons(found) == {"secret": "unreadable"}
    assert found.problems[0].message == "secret cannot be read: Permission denied"


def test_names_that_are_not_utf8_survive(tmp_path):
    raw = os.fsencode(tmp_path) + b"/b\xe9ta\n\x1b.cif"
    with open(raw, "wb") as file:
        file.write(b"data_x\n")
    found = discover(tmp_path)
    assert names(found) == ["b\\xe9ta\\u000a\\u001b.cif"]
    assert read_source(found.files[0], tmp_path, MANY).data == b"data_x\n"
    (entry,) = group_entries(found.files)
    assert entry.entry_id == "b\\xe9ta\\u000a\\u001b"


def test_an_input_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(Missing, match="does not exist"):
        discover(tmp_path / "nowhere")
    with pytest.raises(Missing, match=r"list .* does not exist"):
        discover(None, tmp_path / "list.txt")
    with pytest.raises(ValueError, match="folder or a list"):
        discover(None)


def test_one_file_may_be_the_input(tmp_path):
    write(tmp_path / "1abc.cif")
    write(tmp_path / "2abc.cif")
    assert names(discover(tmp_path / "1abc.cif")) == ["1abc.cif"]


def test_searching_and_reading_change_nothing(tmp_path):
    for i in range(5):
        write(tmp_path / f"a/{i}/1ab{i}.cif.gz", gzip.compress(b"data_x\n"))
    make_tar(tmp_path / "set.tar", {"1abc.cif": b"x" * 1000})
    make_tar(tmp_path / "set.tgz", {"1abc.cif": b"x" * 1000})
    write(tmp_path / "list.txt", b"a/1/1ab1.cif.gz\nset.tar\nmissing\n")
    before = snapshot(tmp_path)
    for found in (discover(tmp_path), discover(None, tmp_path / "list.txt")):
        for file in found.files:
            if file.is_sequential:
                list(SequentialArchive([file], tmp_path, MANY))
            elif file.size >= 0:
                read_source(file, tmp_path, MANY)
    assert snapshot(tmp_path) == before


def test_ten_thousand_files_are_found_in_a_moment(tmp_path):
    for i in range(100):
        (tmp_path / f"{i:02d}").mkdir()
        for j in range(100):
            os.close(os.open(tmp_path / f"{i:02d}/{i:02d}{j:02d}a.cif.gz", os.O_CREAT))
    started = time.perf_counter()
    found = discover(tmp_path)
    entries = group_entries(found.files)
    assert time.perf_counter() - started < 10
    assert len(found.files) == len(entries) == 10_000


# --- lists ---------------------------------------------------------------------------------------


def test_a_list_is_relative_to_its_own_folder_and_missing_files_fail_by_name(tmp_path):
    far = write(tmp_path / "far/3abc.cif")
    write(tmp_path / "lists/sub/1abc.cif")
    write(tmp_path / "lists/hash#.cif")
    make_tar(tmp_path / "lists/set.tar", {"in/4abc.cif": b"data_4abc\n"})
    lines = [
        "\ufeff# a comment",
        "",
        "sub/1abc.cif\r",
        "./sub//1abc.cif",
        "  hash#.cif  ",
        "../far/3abc.cif",
        str(far),
        "set.tar",
        "sub",
        "no\0pe",
        "gone.pdb.gz",
    ]
    pdb_list = write(tmp_path / "lists/list.txt", "\n".join(lines).encode())
    found = discover(None, pdb_list)
    expected = [str(far), "gone.pdb.gz", "hash#.cif", "no\\u0000pe", "set.tar::in/4abc.cif", "sub"]
    assert sorted(names(found)) == sorted([*expected, "sub/1abc.cif"])
    by_name = {file.name: file for file in found.files}
    for name, error in {
        "gone.pdb.gz": Missing,
        "no\\u0000pe": Missing,
        "sub": Unreadable,
    }.items():
        assert by_name[name].size == -1
        with pytest.raises(error) as raised:
            read_source(by_name[name], found.root, MANY)
        assert name in str(raised.value)
    assert read_source(by_name[str(far)], found.root, MANY).data == b"data_x\n"
    appeared = write(Path(found.root) / "gone.pdb.gz")
    with pytest.raises(SourceChanged):
        read_source(by_name["gone.pdb.gz"], found.root, MANY)
    appeared.unlink()


def test_a_folder_and_a_list_are_joined(tmp_path):
    write(tmp_path / "in/1abc.cif")
    write(tmp_path / "more/2abc.cif")
    pdb_list = write(tmp_path / "list.txt", b"in/1abc.cif\nmore/2abc.cif\n")
    found = discover(tmp_path / "in", pdb_list)
    assert sorted(names(found)) == sorted(["1abc.cif", str(tmp_path / "more/2abc.cif")])


# --- archives ------------------------------------------------------------------------------------


def make_tar(path, members, *, style=tarfile.PAX_FORMAT, mode=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=style) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    suffix = path.name.rpartition(".")[2]
    if suffix in ("gz", "tgz"):
        data = gzip.compress(data)
    elif suffix == "zst":
        data = zstandard.compress(data)
    return write(path, data)


def read_all(found, max_bytes=MANY):
    sequential = [file for file in found.files if file.is_sequential]
    result = {}
    for file in found.files:
        if not file.is_sequential:
            result[file.name] = read_source(file, found.root, max_bytes)
    for path in sorted({file.path for file in sequential}):
        members = [file for file in sequential if file.path == path]
        for file, raw in SequentialArchive(members, found.root, max_bytes):
            result[file.name] = raw
    return result


NAMES = {
    "1abc.cif": b"data_1abc\n",
    "./sub/2abc.cif.gz": gzip.compress(b"data_2abc\n"),
    "x" * 99 + ".cif": b"a" * 511,
    "x" * 100 + ".cif": b"b" * 512,
    "d" * 90 + "/" + "e" * 90 + ".cif": b"c" * 513,
    "/".join(["long"] * 100) + "/name" * 30 + ".pdb": b"d" * 5000,
    "../../etc/passwd": b"e",
    "/absolute/3abc.cif": b"",
    "ünï/ço∂é.cif": b"g" * 1025,
    "b\udce9ta.cif": b"h",
    "new\nline.cif": b"i",
}


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.zst"])
def test_members_of_any_name_are_read_from_where_they_are(tmp_path, style, suffix):
    make_tar(tmp_path / f"a/set.{suffix}", NAMES, style=style)
    found = discover(tmp_path)
    assert not found.problems
    assert {file.member: file.size for file in found.files} == {k: len(v) for k, v in NAMES.items()}
    assert all(file.is_sequential == (suffix != "tar") for file in found.files)
    read = read_all(found)
    for file in found.files:
        raw = read[file.name]
        assert raw.data == NAMES[file.member]
        assert raw.sha256 == hashlib.sha256(NAMES[file.member]).hexdigest()
    assert len({entry.entry_id for entry in group_entries(found.files)}) == len(NAMES)


def test_ustar_prefixes_and_old_archives_are_read(tmp_path):
    short = {name: data for name, data in NAMES.items() if len(name) < 100 or len(name) == 185}
    make_tar(tmp_path / "set.tar", short, style=tarfile.USTAR_FORMAT)
    found = discover(tmp_path)
    assert {f.member: read_source(f, tmp_path, MANY).data for f in found.files} == short


members_strategy = st.dictionaries(
    st.text("ab/.é", min_size=1, max_size=300).filter(lambda n: n.strip("/.") and n[-1] != "/"),
    st.binary(max_size=1500),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(members_strategy, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.integers())
def test_headers_are_read_as_tarfile_reads_them(tmp_path_factory, members, style, seed):
    path = make_tar(tmp_path_factory.mktemp("t") / "set.tar", members, style=style)
    with tarfile.open(path) as archive:
        expected = [(info.name, info.offset_data, info.size) for info in archive]
    with path.open("rb") as file:
        stream = TarFileStream(StoredHere(file.fileno()))
        assert [(m.name, m.offset, m.size) for m in iter_members(stream)] == expected
    data, rng, pieces = path.read_bytes(), random.Random(seed), []
    while data:
        n = rng.randrange(1, 2000)
        pieces.append(data[:n])
        data = data[n:]
    chunks = TarChunkStream(iter(pieces))
    found = {}
    for member in iter_members(chunks):
        if rng.random() < 0.7:
            found[member.name] = chunks.read(member.size)
    assert all(members[name] == content for name, content in found.items() if name in members)


def test_links_devices_holes_and_inner_archives_are_no_files_to_read(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind in [
            ("folder", tarfile.DIRTYPE),
            ("hard.cif", tarfile.LNKTYPE),
            ("soft.cif", tarfile.SYMTYPE),
            ("dev.cif", tarfile.CHRTYPE),
            ("pipe.cif", tarfile.FIFOTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "1abc.cif"
            archive.addfile(info)
        for name in ("inner.tar.gz", "1abc.cif"):
            info = tarfile.TarInfo(name)
            info.size = 700
            archive.addfile(info, io.BytesIO(bytes(700)))
        info = tarfile.TarInfo("holes.cif")
        info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
        archive.addfile(info)
    found = discover(tmp_path)
    assert names(found) == ["set.tar::1abc.cif"]
    assert reasons(found) == {
        "set.tar::inner.tar.gz": "nested-archive",
        "set.tar::holes.cif": "sparse-member",
    }
    assert found.aliases == ["set.tar::hard.cif", "set.tar::soft.cif"]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_of_members_with_one_name_the_last_counts_as_when_unpacked(tmp_path, suffix):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for data in (b"old", b"new!"):
            info = tarfile.TarInfo("1abc.cif")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    write(tmp_path / f"set.{suffix}", gzip.compress(data) if suffix == "tar.gz" else data)
    found = discover(tmp_path)
    assert [raw.data for raw in read_all(found).values()] == [b"new!"]
    assert found.aliases == [f"set.{suffix}::1abc.cif"]


def test_archives_joined_end_to_end_are_read_through(tmp_path):
    first = make_tar(tmp_path / "x/a.tar", {"1abc.cif": b"1"}).read_bytes()
    second = make_tar(tmp_path / "x/b.tar", {"2abc.cif": b"2"}).read_bytes()
    write(tmp_path / "y/ab.tar", first + second)
    assert names(discover(tmp_path / "y")) == ["ab.tar::1abc.cif", "ab.tar::2abc.cif"]


def test_a_plain_archive_that_is_cut_costs_what_was_cut_off(tmp_path):
    data = make_tar(tmp_path / "set.tar", {"1abc.cif": b"1" * 600, "2abc.cif": b"2" * 600})
    whole = data.read_bytes()
    for n in (1536 + 512 + 300, 1536 + 512, 1536 + 100, 1536, 3 * 1536):
        data.write_bytes(whole[:n])
        found = discover(tmp_path)
        if n < 3 * 1536:
            assert reasons(found) == {"set.tar": "truncated-stream"}
        by_name = {file.member: file for file in found.files}
        assert read_source(by_name["1abc.cif"], tmp_path, MANY).data == b"1" * 600
        if 1536 + 512 <= n < 1536 + 512 + 600:
            with pytest.raises(TruncatedStream):
                read_source(by_name["2abc.cif"], tmp_path, MANY)
    data.write_bytes(whole[:1536] + b"garbage!" * 64 + whole[2048:])
    found = discover(tmp_path)
    assert names(found) == ["set.tar::1abc.cif"]
    assert reasons(found) == {"set.tar": "corrupt-stream"}


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.zst"])
def test_a_compressed_archive_without_a_verified_end_lists_nothing(tmp_path, suffix):
    members = {f"{i}abc.cif": random.Random(i).randbytes(3000) for i in range(9)}
    path = make_tar(tmp_path / f"set.{suffix}", members)
    whole = path.read_bytes()
    for n in (5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n])
        found = discover(tmp_path)
        assert not found.files
        assert reasons(found) == {path.name: "truncated-stream"}
    if suffix == "tar.gz":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
        found = discover(tmp_path)
        assert not found.files
        assert reasons(found) == {path.name: "corrupt-stream"}


def test_a_file_that_is_only_called_tar_is_an_ordinary_file(tmp_path):
    write(tmp_path / "1abc.tar", b"data_1abc\n")
    write(tmp_path / "2abc.tar.gz", gzip.compress(b"HEADER" * 500))
    write(tmp_path / "empty.tar", b"")
    found = discover(tmp_path)
    assert names(found) == ["1abc.tar", "2abc.tar.gz", "empty.tar"]
    assert all(file.member is None for file in found.files)
    assert not found.problems


def test_the_content_of_a_tar_decides_how_it_is_packed(tmp_path):
    path = make_tar(tmp_path / "a.tar.gz", {"1abc.cif": b"data_x\n"})
    path.rename(tmp_path / "b.tar")
    found = discover(tmp_path)
    assert found.files[0].is_sequential
    assert read_all(found)["b.tar::1abc.cif"].data == b"data_x\n"


def test_hostile_headers_are_refused(tmp_path):
    def header(name, size, kind=b"0"):
        info = tarfile.TarInfo(name)
        info.size, info.type = size, kind
        return info.tobuf(tarfile.GNU_FORMAT)

    cases = {
        "long.tar": header("x", 1 << 40, b"L"),
        "huge.tar": header("1abc.cif", 1 << 60) + b"data",
        "pax.tar": header("x", 512, b"x") + b"0 path=x\n".ljust(512, b"\0"),
        "pax2.tar": header("x", 512, b"x") + b"999999 path=x\n".ljust(512, b"\0"),
        "pax3.tar": header("x", 512, b"x") + b"12 size=-1x\n".ljust(512, b"\0") + header("a", 1),
    }
    for name, data in cases.items():
        write(tmp_path / name, data + bytes(512))
    started = time.perf_counter()
    found = discover(tmp_path)
    assert time.perf_counter() - started < 5
    assert reasons(found) == {
        "long.tar": "corrupt-stream",
        "huge.tar": "truncated-stream",
        "pax.tar": "corrupt-stream",
        "pax2.tar": "corrupt-stream",
        "pax3.tar": "corrupt-stream",
    }
    (file,) = found.files
    with pytest.raises(TooLarge):
        read_source(file, tmp_path, MANY)


def test_a_bomb_in_the_shape_of_an_archive_is_left_early(tmp_path):
    info = tarfile.TarInfo("1abc.cif")
    info.size = 1 << 28
    bomb = gzip.compress(info.tobuf() + bytes(info.size + 10240), 9)
    write(tmp_path / "set.tar.gz", bomb)
    started = time.perf_counter()
    found = discover(tmp_path)
    assert time.perf_counter() - started < 10
    assert reasons(found) == {"set.tar.gz": "too-large"}
    assert not found.files


# --- reading -------------------------------------------------------------------------------------


def test_a_file_over_the_limit_is_not_read(tmp_path):
    write(tmp_path / "1abc.cif", b"x" * 1000)
    file = discover(tmp_path).files[0]
    assert read_source(file, tmp_path, 1000) == RawFile.from_bytes(b"x" * 1000)
    with pytest.raises(TooLarge, match=r"1abc\.cif has 1,000 bytes, the limit is 999"):
        read_source(file, tmp_path, 999)


def test_a_file_that_is_not_the_one_found_is_an_error(tmp_path):
    path = write(tmp_path / "1abc.cif", b"x" * 1000)
    file = discover(tmp_path).files[0]
    for change in (
        lambda: path.write_bytes(b"x" * 1001),
        lambda: path.write_bytes(b"x" * 999),
        lambda: (path.write_bytes(b"y" * 1000), os.utime(path, ns=(1, file.mtime_ns + 1))),
    ):
        change()
        with pytest.raises(SourceChanged, match="changed after it was found"):
            read_source(file, tmp_path, MANY)
    path.unlink()
    with pytest.raises(Missing):
        read_source(file, tmp_path, MANY)
    os.mkfifo(path)  # a pipe must not hang the reader
    with pytest.raises(Unreadable, match="pipe"):
        read_source(file, tmp_path, MANY)


def test_a_file_that_grows_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    path = write(tmp_path / "1abc.cif", b"x" * 1000)
    file = discover(tmp_path).files[0]
    read = os.pread

    def read_and_grow(descriptor, n, offset):
        data = read(descriptor, n, offset)
        with path.open("ab") as out:
            out.write(b"more")
        return data

    monkeypatch.setattr(os, "pread", read_and_grow)
    with pytest.raises(SourceChanged):
        read_source(file, tmp_path, MANY)


def test_an_input_output_error_may_be_tried_again(tmp_path, monkeypatch):
    write(tmp_path / "1abc.cif")
    file = discover(tmp_path).files[0]

    def fail(descriptor, n, offset):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(Unreadable, match="Input/output error") as raised:
        read_source(file, tmp_path, MANY)
    assert raised.value.transient


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_an_archive_that_changed_gives_no_wrong_data(tmp_path, suffix):
    path = make_tar(tmp_path / f"set.{suffix}", {"1abc.cif": b"1" * 600, "2abc.cif": b"2" * 600})
    found = discover(tmp_path)
    mtime = found.files[0].mtime_ns
    # Other members at the same places, and the clock set back.
    make_tar(path, {"0abc.cif": b"0" * 90, "1abc.cif": b"1" * 90, "2abc.cif": b"2" * 600})
    for time_ns in (mtime + 1, mtime):
        os.utime(path, ns=(mtime, time_ns))
        for file in found.files:
            if suffix == "tar":
                with pytest.raises(SourceChanged):
                    read_source(file, tmp_path, MANY)
            else:
                ((_, result),) = SequentialArchive([file], tmp_path, MANY)
                assert isinstance(result, SourceChanged)


def test_a_sequential_archive_reads_what_is_asked_and_one_bad_member_costs_itself(tmp_path):
    members = {f"{i}abc.cif": bytes([i]) * (i * 1000) for i in range(8)}
    make_tar(tmp_path / "set.tgz", members)
    found = discover(tmp_path)
    wanted = [found.files[i] for i in (6, 2, 4)]
    results = list(SequentialArchive(wanted, tmp_path, 5000))
    assert [file.member for file, _ in results] == ["2abc.cif", "4abc.cif", "6abc.cif"]
    assert [type(result) for _, result in results] == [RawFile, RawFile, TooLarge]
    assert results[1][1].data == members["4abc.cif"]
    with pytest.raises(ValueError, match="SequentialArchive"):
        read_source(wanted[0], tmp_path, MANY)


def test_what_is_wrong_with_an_archive_is_said_of_each_member_still_to_come(tmp_path):
    members = {f"{i}abc.cif": random.Random(i).randbytes(100_000) for i in range(5)}
    path = make_tar(tmp_path / "set.tar.gz", members)
    found = discover(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    os.utime(path, ns=(found.files[0].mtime_ns,) * 2)
    results = {
        file.member: result for file, result in SequentialArchive(found.files, tmp_path, MANY)
    }
    assert results.keys() == members.keys()
    assert results["0abc.cif"].data == members["0abc.cif"]
    assert isinstance(results["4abc.cif"], TruncatedStream)
    assert "set.tar.gz::4abc.cif" in str(results["4abc.cif"])
    path.unlink()
    assert [type(result) for _, result in SequentialArchive(found.files, tmp_path, MANY)] == [
        Missing
    ] * 5


def test_every_error_has_its_own_reason():
    kinds = (CorruptStream, Missing, SourceChanged, TooLarge, TruncatedStream, Unreadable)
    assert len({kind.reason for kind in kinds}) == len(kinds)
    assert all(issubclass(kind, SourceError) for kind in kinds)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_member_with_a_name_of_absurd_length_is_a_problem_and_the_others_are_read(
    tmp_path, suffix
):
    absurd = {f"{k}/" + "long/" * 200_000 + "x.cif": b"1" for k in range(3)}
    just_fits = "d/" * 2045 + "01.cif"
    assert len(just_fits) == 4096
    members = {"1abc.cif": b"data_1", **absurd, just_fits: b"data_2", "2abc.cif": b"data_3"}
    make_tar(tmp_path / f"set.{suffix}", members)
    found = discover(tmp_path)
    contents = [result.data for result in read_all(found).values()]
    assert sorted(contents) == [b"data_1", b"data_2", b"data_3"]
    assert [problem.reason for problem in found.problems] == ["overlong-name"] * 3
    assert len(set(reasons(found))) == 3
    for problem in found.problems:
        assert len(problem.message) < 400
        assert "bytes, at byte" in problem.name
        assert "over 4,096 bytes" in problem.message


def test_extended_headers_without_a_member_are_not_gathered_for_ever(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, record = tarfile.XHDTYPE, b"x" * 300_000
    data = b""
    for k in range(8):
        content = b"%d k%d=" % (len(record) + 11, k) + record + b"\n"
        header.size = len(content)
        data += header.tobuf() + content + bytes(-len(content) % 512)
    write(tmp_path / "set.tar", data + bytes(1024))
    (problem,) = discover(tmp_path).problems
    assert problem.reason == "corrupt-stream"
    assert "has headers of" in problem.message


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_an_archive_of_absurdly_many_members_is_said_and_read_up_to_a_limit(
    tmp_path, suffix, monkeypatch
):
    monkeypatch.setattr(pipeline.sources.archive, "MAX_MEMBERS", 3)
    make_tar(tmp_path / f"set.{suffix}", {f"{k}.cif": b"data_%d" % k for k in range(5)})
    found = discover(tmp_path)
    assert reasons(found) == {f"set.{suffix}": "too-many-members"}
    contents = [result.data for result in read_all(found).values()]
    assert sorted(contents) == [b"data_0", b"data_1", b"data_2"]
