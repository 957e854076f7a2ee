"""Chains per second into tensors: this reader beside the usual ways of storing training data.

    python benchmarks/reading.py DATASET [--repeats 3] [--markdown]
    python benchmarks/reading.py DATASET --larger OTHER_DATASET …     # memory against size
    python benchmarks/reading.py DATASET --index 1000000              # opening a large index

All contestants hold the same fields of the same chains (those of `ShardDataset`'s items) and give
the same dictionaries of tensors; this is checked on the first items. Each runs in a process of its
own, one thread, without a loader's workers between (their cost is the same for all). Time to the
first batch is from opening to the 32nd item, the files thrown out of the page cache before;
``chains/s`` is the best of the later epochs, with random access in a new random order each, or as a
shuffled stream where the format allows nothing else; memory is the peak of the process beyond that
of importing the same libraries. For memory against size, mapped pages of files are told apart: they
are the page cache's, which all processes share and the kernel takes back when it needs them.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from build_speed import describe_machine, format_table

from pipeline.commands.words import MEBIBYTE
from pipeline.dataset import DEFAULT_FIELDS, ShardDataset, ShardStream
from pipeline.selection.fields import FIELDS

BATCH = 32
FIELD_NAMES = [name for name in DEFAULT_FIELDS if name in FIELDS]
Item = dict[str, Any]


def stored_items(dataset: Path) -> Iterator[dict[str, Any]]:
    """Items as arrays of the types that the mmap cache has."""
    for item in ShardStream(dataset, shuffle=False):
        fields = {n: item[n].numpy().astype(FIELDS[n].stored) for n in FIELD_NAMES}
        yield {"chain_uid": item["chain_uid"], **fields}


def as_item(stored: dict[str, Any]) -> Item:
    """What `ShardDataset` gives, of stored arrays."""
    item: Item = {}
    for name in DEFAULT_FIELDS:
        if name == "chain_index":
            item[name] = torch.zeros(len(stored["aatype"]), dtype=torch.int64)
        else:
            field = FIELDS[name]
            array = np.asarray(stored[name], field.stored).reshape(-1, *field.shape)
            item[name] = torch.from_numpy(array.astype(field.item))
    item["chain_uid"] = stored["chain_uid"]
    return item


class RandomAccess:
    """An epoch of a map-style reader."""

    def __init__(self, n: int, get: Callable[[int], Item]):
        self.n, self.get = n, get

    def epoch(self, number: int) -> Iterator[Item]:
        for k in np.random.default_rng(number).permutation(self.n).tolist():
            yield self.get(k)


class Stream:
    """An epoch of an iterable reader."""

    def __init__(self, start: Callable[[int], Iterator[Item]]):
        self.epoch = start


# ---- contestants: write(dataset, folder) once, open(dataset, folder) in the measured process ----


def open_stream(dataset: Path, _: Path) -> Stream:
    stream = ShardStream(dataset)

    def epoch(number: int) -> Iterator[Item]:
        stream.set_epoch(number)
        return iter(stream)

    return Stream(epoch)


def open_mmap(dataset: Path, folder: Path) -> RandomAccess:
    found = ShardDataset(dataset, cache="mmap", cache_dir=str(folder))
    return RandomAccess(len(found), found.__getitem__)


def write_mmap(dataset: Path, folder: Path) -> None:
    ShardDataset(dataset, cache="mmap", cache_dir=str(folder))


def open_memory(dataset: Path, _: Path) -> RandomAccess:
    found = ShardDataset(dataset, cache="memory")
    return RandomAccess(len(found), found.__getitem__)


def write_pickles(dataset: Path, folder: Path) -> None:
    for k, item in enumerate(stored_items(dataset)):
        (folder / f"{k:07d}.pkl").write_bytes(pickle.dumps(item, pickle.HIGHEST_PROTOCOL))


def open_pickles(_: Path, folder: Path) -> RandomAccess:
    paths = sorted(folder.iterdir())
    return RandomAccess(len(paths), lambda k: as_item(pickle.loads(paths[k].read_bytes())))


def write_lmdb(dataset: Path, folder: Path) -> None:
    import lmdb

    with lmdb.open(str(folder), map_size=1 << 40) as database, database.begin(write=True) as change:
        for k, item in enumerate(stored_items(dataset)):
            change.put(b"%07d" % k, pickle.dumps(item, pickle.HIGHEST_PROTOCOL))


def open_lmdb(_: Path, folder: Path) -> RandomAccess:
    import lmdb

    database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False, map_size=1 << 40)
    reading = database.begin(buffers=True)
    n = database.stat()["entries"]
    return RandomAccess(n, lambda k: as_item(pickle.loads(reading.get(b"%07d" % k))))


def write_webdataset(dataset: Path, folder: Path) -> None:
    import webdataset

    with webdataset.ShardWriter(str(folder / "%06d.tar"), maxcount=256, verbose=0) as sink:
        for k, item in enumerate(stored_items(dataset)):
            arrays = io.BytesIO()
            np.savez(arrays, **{n: item[n] for n in FIELD_NAMES})
            sink.write({"__key__": f"{k:07d}", "npz": arrays.getvalue(), "uid": item["chain_uid"]})


def open_webdataset(_: Path, folder: Path) -> Stream:
    import webdataset

    tars = sorted(str(p) for p in folder.glob("*.tar"))

    def decode(sample: dict[str, Any]) -> Item:
        arrays = np.load(io.BytesIO(sample["npz"]))
        return as_item({"chain_uid": sample["uid"].decode(), **arrays})

    def epoch(number: int) -> Iterator[Item]:
        order = np.random.default_rng(number).permutation(len(tars)).tolist()
        source = webdataset.WebDataset([tars[k] for k in order], shardshuffle=False)
        return iter(source.shuffle(1024, initial=1024).map(decode))

    return Stream(epoch)


def write_hugging_face(dataset: Path, folder: Path) -> None:
    import datasets

    datasets.disable_progress_bars()

    def rows() -> Iterator[dict[str, Any]]:
        for item in stored_items(dataset):
            yield {n: v.reshape(-1) if n != "chain_uid" else v for n, v in item.items()}

    kinds = {"i1": "int8", "<i4": "int32", "<f4": "float32", "?": "bool"}
    features = {n: datasets.Sequence(datasets.Value(kinds[FIELDS[n].stored])) for n in FIELD_NAMES}
    features["chain_uid"] = datasets.Value("string")
    with tempfile.TemporaryDirectory() as scratch:
        made = datasets.Dataset.from_generator(
            rows, features=datasets.Features(features), cache_dir=scratch
        )
        made.save_to_disk(str(folder))


def open_hugging_face(_: Path, folder: Path) -> RandomAccess:
    import datasets

    found = datasets.load_from_disk(str(folder)).with_format("numpy")
    return RandomAccess(len(found), lambda k: as_item(found[k]))


def write_nothing(dataset: Path, folder: Path) -> None:
    """The shards are there."""


CONTESTANTS: dict[str, tuple[str, Callable[[Path, Path], None], Callable[[Path, Path], Any]]] = {
    "stream": ("this reader, shards, shuffled", write_nothing, open_stream),
    "mmap": ("this reader, mmap cache", write_mmap, open_mmap),
    "memory": ("this reader, memory", write_nothing, open_memory),
    "pickle": ("a pickle per chain", write_pickles, open_pickles),
    "lmdb": ("LMDB of pickles", write_lmdb, open_lmdb),
    "webdataset": ("webdataset, npz in tars", write_webdataset, open_webdataset),
    "datasets": ("Hugging Face datasets", write_hugging_face, open_hugging_face),
}


def measure(name: str, dataset: Path, folder: Path, repeats: int) -> dict[str, float]:
    """In a process of its own; prints JSON."""
    opener = CONTESTANTS[name][2]
    if name in ("lmdb", "webdataset", "datasets"):
        __import__(name)
    next(iter(ShardStream(dataset)))  # whatever is loaded at first use
    # The peak so far, reached while modules were loaded, is forgotten (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    memory_before, own_before = _status("VmHWM"), _status("RssAnon")
    started = time.perf_counter()
    reader = opener(dataset, folder)
    items = reader.epoch(0)
    first = [next(items) for _ in range(BATCH)]
    seconds_to_first = time.perf_counter() - started
    _check(first, dataset)
    del first
    n, own = BATCH, 0
    for _ in items:
        n += 1
        if n % BATCH == 0:
            own = max(own, _status("RssAnon"))
    best = float("inf")
    for number in range(1, repeats + 1):
        started = time.perf_counter()
        found = sum(1 for _ in reader.epoch(number))
        best = min(best, time.perf_counter() - started)
        if found != n:
            raise SystemExit(f"{name}: {found} items instead of {n}")
    return {
        "first": seconds_to_first,
        "rate": n / best,
        "memory": _status("VmHWM") - memory_before,
        "own": own - own_before,
    }


def _status(name: str) -> int:
    """A size of this process (proc(5), status)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _check(items: list[Item], dataset: Path) -> None:
    """The items are those of the dataset, to the bit."""
    sound = ShardDataset(dataset)
    numbers = {uid: k for k, uid in enumerate(sound.chain_uids)}
    for item in items[:4]:
        expected = sound[numbers[item["chain_uid"]]]
        if not all(torch.equal(item[k], expected[k]) for k in DEFAULT_FIELDS):
            raise SystemExit(f"{item['chain_uid']} differs")


def in_own_process(name: str, dataset: Path, folder: Path, repeats: int) -> dict[str, float]:
    forget(folder)
    forget(dataset)
    command = [sys.executable, __file__, str(dataset), "--measure", name, "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--repeats", str(repeats)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def forget(folder: Path) -> None:
    """Throw the files of a folder out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def race(dataset: Path, names: list[str], repeats: int, scratch: Path) -> list[tuple[str, ...]]:
    residues = int(ShardDataset(dataset).lengths.sum())
    rows = []
    for name in names:
        does, write, _ = CONTESTANTS[name]
        folder = scratch / name
        folder.mkdir()
        started = time.perf_counter()
        write(dataset, folder)
        writing = time.perf_counter() - started
        found = in_own_process(name, dataset, folder, repeats)
        size = size_of(folder) or size_of(dataset / "shards")
        shutil.rmtree(folder)
        rows.append(
            (
                does,
                f"{found['rate']:.0f}",
                f"{size / residues:.0f}",
                f"{1e3 * found['first']:.0f}",
                f"{found['memory'] / MEBIBYTE:.0f}",
                "-" if write is write_nothing else f"{writing:.1f}",
            )
        )
    return rows


def synthetic_index(dataset: Path, n: int, folder: Path) -> None:
    """A dataset whose index has n chains, made of copies of the rows of another; no shards."""
    table = pq.read_table(dataset / "index.parquet")
    copies = -(-n // table.num_rows)
    some = pa.concat_tables([table] * copies).slice(0, n).combine_chunks()
    numbers = np.char.zfill(np.arange(n).astype(str), 8)
    uids = pa.array(np.char.add("x", np.char.add(numbers, "_1_A")))
    entries = pa.array(np.char.add("x", numbers))
    some = some.set_column(some.schema.get_field_index("chain_uid"), "chain_uid", uids)
    some = some.set_column(some.schema.get_field_index("entry_id"), "entry_id", entries)
    pq.write_table(
        some, folder / "index.parquet", compression="zstd", compression_level=3,
        write_page_checksum=True,
    )  # fmt: skip
    shutil.copy(dataset / "build.json", folder)


def open_index(dataset: Path) -> list[tuple[str, ...]]:
    rows = []
    for what, options in (
        ("everything", {}),
        ("where, two columns", {"where": "resolution < 2.5 and length between 60 and 512"}),
        ("entries", {"unit": "entry"}),
    ):
        times = []
        for _ in range(3):
            started = time.perf_counter()
            found = ShardDataset(dataset, **options)
            len(found.lengths)
            times.append(time.perf_counter() - started)
        rows.append((what, f"{len(found)}", f"{times[0]:.2f}", f"{min(times):.2f}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--larger", nargs="*", type=Path, default=[], help="for memory against size"
    )
    parser.add_argument("--index", type=int, default=0, help="chains of a synthetic index to open")
    parser.add_argument("--scratch", type=Path, default=None)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        found = measure(options.measure, options.dataset, options.folder, options.repeats)
        print(json.dumps(found))
        return
    bullet, heading = ("- ", "\n### ") if options.markdown else ("", "\n")
    for line in describe_machine():
        print(bullet + line)
    dataset = ShardDataset(options.dataset)
    print(f"{bullet}torch {torch.__version__}")
    print(f"{bullet}{len(dataset)} chains, {dataset.lengths.sum()} residues")
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        header = (
            *("contestant", "chains/s", "bytes/residue", "ms to first batch"),
            *("memory, MiB", "s to write"),
        )
        rows = race(options.dataset, options.only, options.repeats, Path(scratch))
        print(f"{heading}one process, all fields to tensors, best of {options.repeats} epochs\n")
        print(format_table(header, rows, options.markdown))
    if options.larger:
        print(f"{heading}memory against the size of the dataset, MiB beyond the libraries\n")
        rows = []
        for path in (options.dataset, *options.larger):
            chains = len(ShardDataset(path))
            with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
                write_mmap(path, Path(scratch))
                stream, mmap = (
                    in_own_process(n, path, Path(scratch), 1) for n in ("stream", "mmap")
                )
            sizes = (stream["own"], mmap["own"], mmap["memory"])
            rows.append((f"{chains}", *(f"{size / MEBIBYTE:.0f}" for size in sizes)))
        header = ("chains", "stream", "mmap cache", "mmap cache, with mapped pages")
        print(format_table(header, rows, options.markdown))
    if options.index:
        print(f"{heading}opening an index of {options.index} chains, s\n")
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            synthetic_index(options.dataset, options.index, Path(scratch))
            rows = open_index(Path(scratch))
        print(format_table(("what", "items", "first time", "best"), rows, options.markdown))


if __name__ == "__main__":
    main()
