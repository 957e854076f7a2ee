"""What one process does for all entries of an archive, on made-up ones: plan and index.

    python benchmarks/synthetic_archive.py SCRATCH --entries 1000000

Used by `cost.py`. The entries are names of files that are not there, and shards of chains of a few
residues: what is measured does not look at coordinates. Prints JSON: step → seconds, peak bytes of
the process that did it, bytes of what it wrote.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.build.finalise import finalise
from pipeline.build.map_part import build_part
from pipeline.build.options import Reading
from pipeline.build.plan import Part, make_plan, plan_table, read_plan
from pipeline.build.records import InputRecord, PartRecord, read_record
from pipeline.layout import Layout
from pipeline.sources import SourceFile, discover, group_entries

FILE_BYTES = 90_000
"""Stored bytes of a made-up file, about those of an mmCIF file of AlphaFold DB."""

TEMPLATE = Path(__file__).parents[1] / "data_manifest" / "examples" / "1ubi.pdb.zst"


def entry_name(k: int) -> str:
    return f"AF-{k:09d}-F1-model_v4"


def files(n: int) -> list[SourceFile]:
    return [
        SourceFile(
            path=f"{k // 100_000:04d}/{entry_name(k)}.cif.gz",
            member=None,
            size=FILE_BYTES + k % 1000,
            mtime_ns=1_700_000_000_000_000_000,
            offset=None,
            suffix_format="cif",
            stem=entry_name(k),
        )
        for k in range(n)
    ]


# ---- steps: each in a process of its own --------------------------------------------------------


def plan(scratch: Path, n: int) -> tuple[float, int]:
    """Names, sizes and times of files → entries → parts → plan.parquet."""
    found = files(n)
    started = time.perf_counter()
    parts = make_plan(group_entries(found))
    path = scratch / "plan.parquet"
    pq.write_table(plan_table(parts), path, compression="zstd")
    return time.perf_counter() - started, path.stat().st_size


def prepare(scratch: Path, n: int) -> tuple[float, int]:
    """Shards and records as parts leave them; not part of what is measured."""
    layout = Layout(scratch / "out")
    layout.make_folders()
    reading = Reading()
    template = _template(scratch / "template", reading)
    for part in read_plan(scratch / "plan.parquet"):
        _write_shard(layout, part, template, reading)
    return 0.0, 0


def index(scratch: Path, n: int) -> tuple[float, int]:
    """Records and shards → index, tables, digest and build.json."""
    layout = Layout(scratch / "out")
    started = time.perf_counter()
    parts = read_plan(scratch / "plan.parquet")
    records = [read_record(layout, part.number) for part in parts]
    summary = finalise(layout, parts, [r for r in records if r is not None], [], Reading())
    seconds = time.perf_counter() - started
    assert summary["counts"]["chains"] == n
    return seconds, sum(path.stat().st_size for path in layout.results if path.exists())


STEPS: dict[str, Callable[[Path, int], tuple[float, int]]] = {
    "plan": plan,
    "prepare": prepare,
    "index": index,
}


def _template(folder: Path, reading: Reading) -> pa.Table:
    """One short chain as a shard's row."""
    layout = Layout(folder)
    layout.make_folders()
    found = discover(TEMPLATE)
    build_part(Part(0, tuple(group_entries(found.files))), found.root, reading, folder)
    table = pq.read_table(layout.shard(0))
    short = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type):
            kept = 12 if name in "xyz" else 2
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
        "length": [2] * len(ids),
    }
    for name, values in changed.items():
        position = rows.schema.get_field_index(name)
        field = rows.schema.field(position)
        rows = rows.set_column(position, field, pa.array(values, field.type))
    path = layout.shard(part.number)
    pq.write_table(rows, path, row_group_size=64, compression="zstd", write_page_checksum=True)
    content = path.read_bytes()
    record = PartRecord(
        number=part.number,
        fingerprint=part.fingerprint(reading.config_hash),
        shard=path.name,
        shard_sha256=hashlib.sha256(content).hexdigest(),
        shard_bytes=len(content),
        n_chains=len(ids),
        n_residues=2 * len(ids),
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
                n_residues=2,
            )
            for entry_id, file in zip(ids, part.files, strict=True)
        ],
        drops=[],
    )
    record.write(layout.record(part.number), layout.scratch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--step", choices=STEPS, help="only this one, in this process")
    options = parser.parse_args()
    if options.step is not None:
        seconds, n_bytes = STEPS[options.step](options.scratch, options.entries)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak": peak, "bytes": n_bytes}))
        return
    found = {}
    for step in STEPS:
        command = [sys.executable, __file__, str(options.scratch), "--step", step]
        done = subprocess.run(
            [*command, "--entries", str(options.entries)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        if step != "prepare":
            found[step] = json.loads(done.stdout)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
