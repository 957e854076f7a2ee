"""Files made to cost much, or to say more than they should; docs/threat-model.md names them."""

from __future__ import annotations

import ast
import gzip
import multiprocessing
import os
import pickle
import resource
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil
import pytest

from pipeline.build.command import main
from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.commands.words import MEBIBYTE
from pipeline.parsing import ParseError, read_chains
from pipeline.parsing.seqres import MAX_CELLS, place
from tests.support import build_runs as runs
from tests.support import structure_text as text
from tests.support.mutations import zstd
from tests.support.places import ROOT

ADDRESS_SPACE = 4 << 30
"""No attack may take the machine down with it: more than this its process is not given."""
SECONDS = 60

GOOD = text.cif_text(text.chain(["ALA"] * 9)).encode()
GOOD_PDB = text.pdb_text(text.chain(["ALA"] * 9)).encode()


def on_one_sequence(n_chains: int, n_residues: int, title: str = "") -> bytes:
    """A sequence told once, and claimed by many chains of one residue."""
    names = [f"c{k}" for k in range(n_chains)]
    atoms = [a for k, c in enumerate(names) for a in text.residue("ALA", 1, chain=c, place=k)]
    before = f"_struct.title\n;{title}\n;\n" if title else ""
    before += text.entity(["ALA"] * n_residues, names)
    return text.cif_text(atoms, before=before).encode()


def with_assembly(expression: str, n_generators: int = 1) -> bytes:
    matrix = [f"matrix[{i}][{j}]" for i in (1, 2, 3) for j in (1, 2, 3)]
    vector = [f"vector[{i}]" for i in (1, 2, 3)]
    before = text.entity(["ALA"] * 5)
    before += text.loop(
        "pdbx_struct_assembly_gen",
        ("assembly_id", "oper_expression", "asym_id_list"),
        [["1", f"'{expression}'", "A"]] * n_generators,
    )
    before += text.loop(
        "pdbx_struct_oper_list",
        ("id", *matrix, *vector),
        [[str(k), *"100010001", *"000"] for k in range(1, 61)],
    )
    return text.cif_text(text.chain(["ALA"] * 5), before=before).encode()


def binary(row_count: Any, n: int, padding: int = 0) -> bytes:
    """BinaryCIF whose every column is one run."""
    steps = [
        {"kind": "RunLength", "srcType": 3, "srcSize": n},
        {"kind": "ByteArray", "type": 3},
    ]
    names = ("Cartn_x", "Cartn_y", "Cartn_z", "label_atom_id", "label_comp_id", "label_seq_id")
    data = {"data": struct.pack("<2I", 1, n % 2**32), "encoding": steps}
    columns = [{"name": name, "data": data, "mask": None} for name in names]
    categories = [
        {"name": "_padding", "rowCount": 1, "columns": [], "x": bytes(padding)},
        {"name": "_atom_site", "rowCount": row_count, "columns": columns},
    ]
    blocks = [{"header": "X", "categories": categories}]
    return msgpack.packb({"version": "0.3.0", "encoder": "x", "dataBlocks": blocks})


ABSURD: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "blank lines in mmCIF": (lambda: GOOD + b"\n" * (64 * MEBIBYTE), "too-many-rows"),
    "blank lines in PDB": (lambda: GOOD_PDB + b"\n" * (64 * MEBIBYTE), "too-many-rows"),
    "tags": (lambda: GOOD + b"_\n" * (4 * MEBIBYTE), "too-many-rows"),
    "loops": (lambda: GOOD + b"loop_\n_a.b\n1\n" * (2 * MEBIBYTE), "too-many-rows"),
    "columns": (
        lambda: (
            b"data_x\nloop_\n" + b"".join(b"_atom_site.t%d\n" % k for k in range(200_000)) + b"1"
        ),
        "truncated",
    ),
    "words of a category": (
        lambda: b"data_x\nloop_\n_entity_poly_seq.mon_id\n" + b"AL\n" * (12 * MEBIBYTE) + GOOD[7:],
        "too-many-rows",
    ),
    "one line": (
        lambda: b"data_x\n_struct.title " + b"A" * (64 * MEBIBYTE) + b"\n" + GOOD[7:],
        "too-many-rows",
    ),
    "a title for every chain": (
        lambda: on_one_sequence(1000, 3, "t" * MEBIBYTE),
        "overlong-value",
    ),
    "a sequence for every chain": (lambda: on_one_sequence(1000, 200_000), "too-many-rows"),
    "a SEQRES of millions": (
        lambda: (b"SEQRES   1 A 9999  " + b"ALA " * 12 + b"ALA\n") * 250_000 + GOOD_PDB,
        "too-many-rows",
    ),
    "a number at the end of 32 bits": (
        lambda: text.cif_text(
            [a for k, n in enumerate((1, 2**31 - 1, 5)) for a in text.residue("ALA", n, place=k)]
        ).encode(),
        "overlong-value",
    ),
    "a leap of a billion": (
        lambda: text.cif_text(
            [a for k, n in enumerate((1, 10**9)) for a in text.residue("ALA", n, place=k)]
        ).encode(),
        None,
    ),
    "operators of operators": (lambda: with_assembly("(1-60)(1-60)"), "assembly-too-large"),
    "the same operators often": (
        lambda: with_assembly(",".join(["1-9999"] * 100_000)),
        "no-assembly",
    ),
    "many generators": (lambda: with_assembly("(1-60)(1-60)", 2000), "no-assembly"),
    "infinitely many rows": (lambda: binary(float("inf"), 20), "malformed-bcif"),
    "two billion rows": (lambda: binary(2**31, 2**31, MEBIBYTE), "too-many-rows"),
    "a run of two billion": (lambda: binary(20, 2**31 - 1), "malformed-bcif"),
    "two billion blocks": (
        lambda: b"\x83\xa7version\xa50.3.0\xaadataBlocks\xdd\x80\0\0\0" + bytes(100),
        "malformed-bcif",
    ),
}


def _read(name: str, answer: Any) -> None:
    # The process is a copy of one that other tests have filled.
    room = psutil.Process().memory_info().vms + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    data = ABSURD[name][0]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    try:
        read_chains(data, "x", assembly="1" if "operators" in name or "gen" in name else None)
        ending: object = None
    except ParseError as error:
        ending = error.reason
    except BaseException as error:
        ending = repr(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    answer.send((ending, grown << 10, len(data), time.process_time() - begun))


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_count_is_an_error_by_name_before_it_costs_memory_or_time(name: str) -> None:
    here, there = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=_read, args=(name, there))
    process.start()
    there.close()
    try:
        assert here.poll(4 * SECONDS), "it goes on and on"
        ending, grown, size, seconds = here.recv()
    finally:
        process.kill()
        process.join()
    assert ending == ABSURD[name][1]
    assert grown < 300 * MEBIBYTE + 6 * size
    assert seconds < SECONDS


def test_a_chain_and_a_seqres_too_long_to_align_are_not_aligned() -> None:
    n = int(MAX_CELLS**0.5) + 100
    observed = ["ALA" if k % 3 else "GLY" for k in range(n)]
    keys = [(k, "A") for k in range(n)]

    def bonded() -> list[bool]:
        raise AssertionError("it is aligned")

    assert place(observed, keys, bonded, ["SER"] * n) is None


def test_a_sequence_that_repeats_itself_is_not_searched_for_ever() -> None:
    m, n = 9000, 1_900_000
    observed, keys = ["ALA"] * (m - 1) + ["GLY"], [(k, "") for k in range(m)]
    begun = time.process_time()
    assert place(observed, keys, lambda: [False] * m, ["ALA"] * n) is None
    assert time.process_time() - begun < 10  # comparing everywhere takes half an hour


COORDINATES = ("1e30", "1e308", "1e999", "inf", "-inf", "nan", "-1e30", "99999999")


def with_coordinate(format: str, value: str, every: bool) -> bytes:
    """Nine residues; x of the first atom, or of all, is `value`."""
    atoms = [
        replace(atom, xyz=(value, *atom.xyz[1:])) if every or not k else atom
        for k, atom in enumerate(text.chain(["ALA"] * 9))
    ]
    if format == "pdb":
        return text.pdb_text(atoms).encode()
    if format == "cif":
        return text.cif_text(atoms).encode()
    import biotite.structure.io.pdbx as pdbx

    file = pdbx.CIFFile.read(StringIO(GOOD.decode()))
    table = {t: c.as_array() for t, c in file.block["atom_site"].items()}
    for axis in "xyz":
        table[f"Cartn_{axis}"] = table[f"Cartn_{axis}"].astype(float)
    table["Cartn_x"][: None if every else 1] = float(value)
    packed = pdbx.BinaryCIFFile()
    columns = {tag: pdbx.BinaryCIFColumn(values) for tag, values in table.items()}
    packed["X"] = pdbx.BinaryCIFBlock({"atom_site": pdbx.BinaryCIFCategory(columns)})
    stream = BytesIO()
    packed.write(stream)
    return stream.getvalue()


@pytest.mark.parametrize("format", ["pdb", "cif", "bcif"])
@pytest.mark.parametrize("every", [False, True], ids=["one", "all"])
def test_absurd_coordinates_cost_their_atom_or_fail_by_name(format: str, every: bool) -> None:
    for value in COORDINATES:
        data = with_coordinate(format, value, every)
        if every:
            with pytest.raises(ParseError) as raised:
                read_chains(data, "x")
            assert raised.value.reason == "unreadable-coordinates", value
        else:
            (chain,) = read_chains(data, "x").chains
            assert chain.n_bad_atoms == 1, value
            assert np.abs(chain.coords).max() < 10**6


def test_a_resolution_is_a_number_of_angstroms_or_none() -> None:
    line = "REMARK   2 RESOLUTION. {} ANGSTROMS.\n"
    for told, found in (("1.80", 1.8), ("9" * 400, None), ("5000", None), ("0.00", None)):
        parsed = read_chains(line.format(told).encode() + GOOD_PDB, "x")
        assert parsed.metadata.resolution == found


def test_a_dataset_that_names_a_shard_elsewhere_is_not_opened(
    examples_dataset: Path, tmp_path: Path
) -> None:
    told = (examples_dataset / "build.json").read_text()
    for name in ("../part-00000.parquet", "/etc/passwd", ".."):
        (tmp_path / "build.json").write_text(told.replace("part-00000.parquet", name))
        with pytest.raises(UnreadableDataset, match="names a shard with a folder"):
            BuiltDataset.open(tmp_path)


# --- through the command ------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e'\">"


def hostile_folder(folder: Path) -> Path:
    """A folder of things that should not be read, around one file that should."""
    folder.mkdir()
    (folder / "good.pdb").write_bytes(GOOD_PDB)
    (folder / f"{HOSTILE.replace('/', '-')}.pdb").write_bytes(GOOD_PDB)
    os.mkfifo(folder / "pipe.pdb")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path is short
        try:
            server.bind("socket.pdb")
        finally:
            os.chdir(here)
    (folder / "circle").symlink_to("circle")
    (folder / "up").symlink_to("..")
    (folder / "zero.pdb").symlink_to("/dev/zero")
    bomb = gzip.compress(GOOD_PDB + b"REMARK\n" * (8 * MEBIBYTE), 9)
    (folder / "bomb.pdb.gz").write_bytes(bomb)
    (folder / "bomb.pdb.zst").write_bytes(zstd(GOOD_PDB + b"REMARK\n" * (2 * MEBIBYTE)))
    title = HOSTILE.replace("'", "")
    told = GOOD.replace(b"data_TEST\n", f"data_TEST\n_struct.title '{title}'\n".encode())
    (folder / "title.cif").write_bytes(told)
    with tarfile.open(folder / "all.tar", "w") as tar:
        for name in ("../../climbs.pdb", "/tmp/absolute.pdb", "inner.pdb.gz"):
            data = bomb if name.endswith("gz") else GOOD_PDB
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
        for name, kind in (
            ("soft.pdb", tarfile.SYMTYPE),
            ("hard.pdb", tarfile.LNKTYPE),
            ("device.pdb", tarfile.CHRTYPE),
            ("fifo.pdb", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    return folder


def test_a_hostile_folder_is_built_named_and_left_without_a_trace_elsewhere(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source = hostile_folder(tmp_path / "in")
    listed = tmp_path / "in" / "list.txt"
    listed.write_bytes(b"../nowhere.pdb\ngood.pdb\0\nnew\rline.pdb\npipe.pdb\n\xff\xfe.pdb\n")
    before = runs.snapshot(tmp_path)
    out = tmp_path / "out"
    runs.build_here(source, out, pdb_list=listed, max_file_size=8, status=1)
    after = {k: v for k, v in runs.snapshot(tmp_path).items() if not k.startswith(str(out))}
    assert after.keys() == before.keys()
    assert {k: v for k, v in after.items() if k != str(tmp_path)} == {
        k: v for k, v in before.items() if k != str(tmp_path)
    }
    rows = runs.inputs(out)
    assert runs.accounts_for_all(out)
    for name in ("bomb.pdb.gz", "all.tar::inner.pdb.gz"):
        assert rows[name]["reason"] == "too-large", rows[name]
    assert rows["pipe.pdb"]["reason"] == "unreadable"
    assert rows["all.tar::../../climbs.pdb"]["status"] == "ok"
    assert rows["all.tar::/tmp/absolute.pdb"]["status"] == "ok"
    assert rows["circle"]["reason"] == rows["up"]["reason"] == "loop"
    for name in ("soft.pdb", "hard.pdb", "device.pdb", "fifo.pdb"):
        assert rows.get(f"all.tar::{name}", {"status": "left out"})["status"] != "ok"
    said = capfd.readouterr()
    assert not set(said.out + said.err) & set("\x1b\u202e\r\0")
    page = (out / "report.html").read_text()
    assert page.count("<script>") == 1
    assert "\u202e" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_file_that_grows_during_a_whole_build_is_changed_or_read_whole_and_the_others_built(
    tmp_path: Path, n_jobs: int
) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 12), tmp_path / "out"
    growing, ended = source / "growing.pdb", threading.Event()
    growing.write_bytes(GOOD_PDB)

    def grow() -> None:
        while not ended.is_set():
            with growing.open("ab") as file:
                file.write(b"REMARK   1 AND MORE\n" * 50)
            time.sleep(0.001)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        arguments = ["--pdb-dir", source, "--out-dir", out, "--n-jobs", n_jobs]
        result = runs.run(*arguments, append=runs.SMALL_PARTS, folder=tmp_path)
    finally:
        ended.set()
        thread.join()
    assert "Traceback" not in result.out + result.err
    rows = runs.inputs(out)
    row = rows.pop("growing.pdb")
    assert {r["status"] for r in rows.values()} == {"ok"}
    assert len(rows) == 12
    assert row["status"] == "ok" or row["reason"] == "changed"
    assert result.status == (0 if row["status"] == "ok" else 1)
    assert runs.accounts_for_all(out)


def test_what_a_file_says_reaches_the_terminal_without_its_escape_sequences(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    hostile = with_assembly("1").replace(b"\n1 '1' A", b"\n\x1b[31m" + b"X" * 9999 + b" '1' A")
    (source / "a.cif").write_bytes(hostile)
    (tmp_path / "m.csv").write_text("entry_id\na\n\x1b[31mred\n")
    arguments = ["--pdb-dir", source, "--out-dir", tmp_path / "out", "--assembly", "1"]
    arguments += ["--manifest", tmp_path / "m.csv", "--n-jobs", 1, "--quiet"]
    assert main([str(a) for a in arguments]) == 1
    said = capfd.readouterr()
    assert "no usable assembly" in said.out
    assert "\\u001b[31mred" in said.out
    assert "\x1b" not in said.out + said.err
    assert len(said.out) < 10_000


# --- no pickles ---------------------------------------------------------------------------------


class Runs:
    """Runs a command in whoever unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_would_be_noticed(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch, old"])
def test_a_checkpoint_that_is_a_program_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    from model.checkpoint import NotACheckpoint, load_weights
    from model.train.checkpoints import WholeFiles

    path, stored = tmp_path / "evil.ckpt", {"state_dict": {}, "x": Runs(tmp_path / "ran")}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(stored))
    else:
        torch.save(stored, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(NotACheckpoint):
        load_weights(path)
    for allowed in (None, False):
        with pytest.raises(pickle.UnpicklingError):
            WholeFiles().load_checkpoint(path, weights_only=allowed)
    assert not (tmp_path / "ran").exists()


def test_pickles_among_the_structures_are_skipped_and_not_run(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "good.pdb").write_bytes(GOOD_PDB)
    program = pickle.dumps(Runs(tmp_path / "ran"))
    for name in ("evil.npy", "evil.pkl", "evil.pdb", "evil.bcif"):
        (source / name).write_bytes(program)
    np.save(source / "objects.npy", np.array([Runs(tmp_path / "ran")]), allow_pickle=True)
    runs.build_here(source, tmp_path / "out")
    rows = runs.inputs(tmp_path / "out")
    assert {n: r["status"] for n, r in rows.items() if r["status"] != "skipped"} == {
        "good.pdb": "ok"
    }
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("size", ["short", "long"])
def test_a_pickle_in_the_place_of_a_cache_is_not_run(
    examples_dataset: Path, tmp_path: Path, size: str
) -> None:
    pytest.importorskip("torch")
    from pipeline.dataset import CacheError, ShardDataset

    def read() -> list:
        return list(ShardDataset(examples_dataset, cache="mmap", cache_dir=str(tmp_path / "c")))

    read()
    program = pickle.dumps(Runs(tmp_path / "ran"))
    for path in (tmp_path / "c").rglob("*.bin"):
        n_bytes = path.stat().st_size if size == "long" else len(program)
        path.write_bytes(program.ljust(n_bytes, b"\0"))
    if size == "short":
        with pytest.raises(CacheError, match="has another size than it was made with"):
            read()
    else:
        read()
    assert not (tmp_path / "ran").exists()


OF_OWN_PROCESSES = {"pipeline/crew/seat.py", "pipeline/crew/worker.py"}
"""Unpickles what a worker that it started itself sends through a pipe, as multiprocessing does."""


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


def unsafe(source: str) -> list[str]:
    """Calls that run what they read."""
    found = []
    for name, call in calls(ast.parse(source)):
        given = {k.arg: ast.unparse(k.value) for k in call.keywords}
        head, _, last = name.rpartition(".")
        if (
            name in ("eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load")
            or (head in ("pickle", "marshal", "dill", "cloudpickle", "joblib") and "load" in last)
            or (name == "torch.load" and given.get("weights_only") != "True")
            or (name == "np.load" and given.get("allow_pickle", "False") != "False")
            or given.get("trust_remote_code", "False") != "False"
        ):
            found.append(f"line {call.lineno}: {name}")
    return found


def test_no_code_here_runs_what_it_reads() -> None:
    for bad in ("pickle.load(f)", "torch.load(f)", "np.load(f, allow_pickle=True)", "eval(x)"):
        assert unsafe(bad)
    paths = [p for room in ("pipeline", "model") for p in (ROOT / room).rglob("*.py")]
    assert len(paths) > 100
    found = {str(p.relative_to(ROOT)): unsafe(p.read_text()) for p in paths}
    assert {name for name, calls in found.items() if calls} <= OF_OWN_PROCESSES
