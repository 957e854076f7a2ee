"""What one process does for all entries of an archive, on made-up ones.

    python benchmarks/synthetic_archive.py SCRATCH --entries 1000000

Used by `cost.py`. The entries are names of files that are empty or not there, and shards of chains
of a few residues: what is measured does not look at coordinates. Prints JSON: step → seconds,
seconds of the processor, peak bytes of the process that did it, bytes that it wrote (or read).

Each step is what a command does, but for the building: `search`, `plan`, `index` and `report` are a
first build, one after another; `resume` is the same command again, when nothing is left to do;
`update` is ``--update`` where one entry in 200 has changed, as many are new and one in 1,000 is
gone; `open` opens the dataset for training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.build.build_parts import finished_parts
from pipeline.build.earlier import EarlierBuild
from pipeline.build.update import update_plan
from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.latest_plan import keep_plan
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, make_plan
from pipeline.built.reading import Reading
from pipeline.built.records import InputRecord, PartRecord, read_record, write_record
from pipeline.built.tables import finalise
from pipeline.crew.build_part import build_part
from pipeline.files.place import Place
from pipeline.interfaces import joined
from pipeline.report.gather import gather
from pipeline.report.page import render
from pipeline.shards.writer import ROWS_PER_GROUP
from pipeline.sources import SourceFile, discover, group_entries

FILE_BYTES = 90_000
"""Stored bytes of a made-up file, about those of an mmCIF file of AlphaFold DB."""

FILES_PER_FOLDER = 1000

RESIDUES = 2
"""Of a made-up chain."""

SAMPLE_GROUPS = 45
"""Row groups whose ellipsoids a report measures: a million residues in chains of 350."""

ONE_CHANGED_OF, ONE_GONE_OF = 200, 1000
"""In an update; there are as many new entries as changed ones."""

TEMPLATE = Path(__file__).parents[1] / "data_manifest" / "examples" / "1ubi.pdb.zst"


def entry_name(k: int) -> str:
    return f"AF-{k:09d}-F1-model_v4"


def made_up_file(k: int) -> SourceFile:
    return SourceFile(
        path=f"{k // FILES_PER_FOLDER:06d}/{entry_name(k)}.cif.gz",
        member=None,
        size=FILE_BYTES + k % 1000,
        mtime_ns=1_700_000_000_000_000_000,
        offset=None,
        suffix_format="cif",
        stem=entry_name(k),
    )


class Clock:
    """Seconds that pass in ``with`` blocks, and those of this process's processors."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self.wall -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


# ---- steps: each in a process of its own, from a folder, entries and a clock to bytes -----------


def search(scratch: Path, n: int, clock: Clock) -> int:
    """Folders of files → names, sizes and times. The files are empty."""
    root = scratch / "in"
    for k in range(n):
        path = root / made_up_file(k).path
        if k % FILES_PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.touch()
    with clock:
        found = discover(root)
    assert len(found.files) == n
    shutil.rmtree(root)
    return 0


def plan(scratch: Path, n: int, clock: Clock) -> int:
    """Names, sizes and times → entries → parts → the plan, written down."""
    layout = Layout(scratch / "out")
    layout.make_folders()
    found = [made_up_file(k) for k in range(n)]
    with clock:
        keep_plan(layout, make_plan(group_entries(found)))
    return (layout.root / layout.latest_plan).stat().st_size


def prepare(scratch: Path, n: int, clock: Clock) -> int:
    """Shards and records as parts leave them; not part of what is measured."""
    layout, reading = Layout(scratch / "out"), Reading()
    template = _template(scratch / "template", reading)
    for part in EarlierBuild(layout, reading).parts:
        _write_shard(layout, part, template, reading)
    return 0


def index(scratch: Path, n: int, clock: Clock) -> int:
    """Records and shards → index, tables, digest and build.json."""
    layout, reading = Layout(scratch / "out"), Reading()
    parts = EarlierBuild(layout, reading).parts
    records = _records(layout, parts)
    with clock:
        summary = finalise(layout, parts, records, [], reading)
    assert summary.counts.chains == n
    return sum((layout.root / name).stat().st_size for name in layout.results)


def report(scratch: Path, n: int, clock: Clock) -> int:
    """The dataset → report.html. Of short chains few are measured, as of real ones."""
    layout = Layout(scratch / "out")
    with clock:
        dataset = BuiltDataset.open(layout.root)
        page = render(gather(dataset, sample=SAMPLE_GROUPS * ROWS_PER_GROUP * RESIDUES))
    return len(page.encode())


def resume(scratch: Path, n: int, clock: Clock) -> int:
    """The same plan, a look at every part, and tables that are found to be as they should."""
    layout, reading = Layout(scratch / "out"), Reading()
    found = [made_up_file(k) for k in range(n)]
    with clock:
        parts = make_plan(group_entries(found))
        records = finished_parts(layout, parts, reading)
        keep_plan(layout, parts)
        finalise(layout, parts, list(records.values()), [], reading)
    assert len(records) == len(parts)
    return sum((layout.root / layout.record(part.number)).stat().st_size for part in parts)


def update(scratch: Path, n: int, clock: Clock) -> int:
    """Inputs of another day and the earlier plan → what is to be built; and the index at the end.

    That index is the earlier one, as if everything had been built again by others.
    """
    layout, reading = Layout(scratch / "out"), Reading()
    today = _another_day(n)
    with clock:
        entries = group_entries(today)
        earlier = EarlierBuild(layout, reading)
        nowhere = Place(scratch / "in")  # a changed file cannot be read, and counts as changed
        found = update_plan(earlier.parts, entries, partial(earlier.holds_the_same, nowhere))
        earlier.renew(found)
        kept = finished_parts(layout, found.parts, reading)
    assert found.changed == len(range(0, n, ONE_CHANGED_OF)) == found.new
    assert len(kept) == found.parts_kept
    parts = earlier.parts
    del earlier, entries, found  # as the command has one plan then
    records = _records(layout, parts)
    with clock:
        finalise(layout, parts, records, [], reading)
    return 0


def open_dataset(scratch: Path, n: int, clock: Clock) -> int:
    """The index → which chains there are, how long they are, and where."""
    from pipeline.dataset import ShardDataset  # torch, which the steps of a build do not need

    layout = Layout(scratch / "out")
    with clock:
        dataset = ShardDataset(layout.root)
        lengths = dataset.lengths
    assert len(lengths) == n
    return (layout.root / layout.index).stat().st_size


Step = Callable[[Path, int, Clock], int]
STEPS: dict[str, Step] = {
    "search": search,
    "plan": plan,
    "prepare": prepare,
    "index": index,
    "report": report,
    "resume": resume,
    "update": update,
    "open": open_dataset,
}


def _records(layout: Layout, parts: list[Part]) -> list[PartRecord]:
    found = [read_record(layout, part.number) for part in parts]
    return [record for record in found if record is not None]


def _another_day(n: int) -> list[SourceFile]:
    """The files as an update finds them."""
    left = [made_up_file(k) for k in range(n) if k % ONE_GONE_OF != ONE_GONE_OF // 2]
    for place, file in enumerate(left):
        if (file.size - FILE_BYTES) % ONE_CHANGED_OF == 0:
            left[place] = replace(file, size=file.size + 1, mtime_ns=file.mtime_ns + 1)
    return left + [made_up_file(n + k) for k in range(len(range(0, n, ONE_CHANGED_OF)))]


def _template(folder: Path, reading: Reading) -> pa.Table:
    """One short chain as a shard's row."""
    layout = Layout(folder)
    layout.make_folders()
    found = discover(TEMPLATE)
    build_part(Part(0, tuple(group_entries(found.files))), found.root, reading, folder)
    table = pq.read_table(layout.root / layout.shard(0))
    atoms = sum(mask.bit_count() for mask in table["atom14_mask"][0].as_py()[:RESIDUES])
    short = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type):
            kept = atoms if name in "xyz" else RESIDUES
            column = pa.array([row[:kept] for row in column.to_pylist()], column.type)
        short[name] = column
    return pa.table(short, schema=table.schema)


def _write_shard(layout: Layout, part: Part, template: pa.Table, reading: Reading) -> None:
    ids = [entry.entry_id for entry in part.entries]
    rows = template.take(pa.array(np.zeros(len(ids), np.int64)))
    changed = {
        "chain_uid": [f"{entry_id}_1_A" for entry_id in ids],
        "entry_id": ids,
        "file_entry_id": ids,
        "row_sha256": [hashlib.sha256(entry_id.encode()).digest() for entry_id in ids],
        "length": [RESIDUES] * len(ids),
    }
    for name, values in changed.items():
        position = rows.schema.get_field_index(name)
        field = rows.schema.field(position)
        rows = rows.set_column(position, field, pa.array(values, field.type))
    path = layout.root / layout.shard(part.number)
    pq.write_table(
        rows, path, row_group_size=ROWS_PER_GROUP, compression="zstd", write_page_checksum=True
    )
    content = path.read_bytes()
    record = PartRecord(
        number=part.number,
        fingerprint=part.fingerprint(reading.config_hash),
        shard=path.name,
        shard_sha256=hashlib.sha256(content).hexdigest(),
        shard_bytes=len(content),
        n_chains=len(ids),
        n_residues=RESIDUES * len(ids),
        inputs=[
            InputRecord(
                input=file.name,
                entry_id=entry_id,
                part=part.number,
                seconds=0.01,
                size=file.size,
                sha256="0" * 64,
                format="cif",
                reader="text",
                n_atoms=8,
                n_chains=1,
                n_residues=RESIDUES,
            )
            for entry_id, file in zip(ids, part.files, strict=True)
        ],
        drops=[],
        interfaces=joined([]),
    )
    write_record(layout, record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--step", choices=STEPS, help="only this one, in this process")
    options = parser.parse_args()
    if options.step is not None:
        clock = Clock()
        n_bytes = STEPS[options.step](options.scratch, options.entries, clock)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = {"seconds": clock.wall, "cpu": clock.cpu, "peak": peak, "bytes": n_bytes}
        print(json.dumps(found))
        return
    steps = {}
    for step in STEPS:
        command = [sys.executable, __file__, str(options.scratch), "--step", step]
        done = subprocess.run(
            [*command, "--entries", str(options.entries)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        if step != "prepare":
            steps[step] = json.loads(done.stdout)
            print(step, done.stdout.strip(), file=sys.stderr, flush=True)
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
