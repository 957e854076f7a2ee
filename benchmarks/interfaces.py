"""Whether interfaces.parquet says what gemmi's `NeighborSearch` says.

    python benchmarks/interfaces.py FOLDER [--entries N]

Takes entries with several protein chains at even steps through a folder, builds them, and compares
each pair of chains with an independent reading and search (``tests/support/gemmi_interfaces.py``),
number by number. Printed as Markdown; the exit status is 1 if a number differs.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import gemmi
import pyarrow.parquet as pq
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.build.command import build
from pipeline.build.options import BuildOptions
from pipeline.interfaces import INTERFACES_SCHEMA
from pipeline.parsing import ParseError, read_chains
from pipeline.sources import SourceError, decompress
from tests.support.gemmi_interfaces import interfaces

SUFFIXES = (".cif", ".cif.gz", ".bcif", ".bcif.gz", ".pdb", ".pdb.gz")
NUMBERS = [
    field.name for field in INTERFACES_SCHEMA if field.name.startswith(("n_", "min_", "covalent"))
]


def choose(folder: Path, n: int) -> list[Path]:
    """Files with several chains, at even steps."""
    files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES))
    chosen: dict[str, Path] = {}
    for step in range(len(files)):
        # By the golden ratio: evenly spread however many are passed over.
        path = files[int(step * 0.6180339887 * len(files)) % len(files)]
        entry = path.name.partition(".")[0].removeprefix("pdb")
        if entry in chosen:
            continue
        try:
            data = decompress(path.read_bytes(), 1 << 30, name=path.name)
            if len(read_chains(data, entry).chains) > 1:
                chosen[entry] = path
        except (ParseError, SourceError):
            continue
        if len(chosen) == n:
            break
    return sorted(chosen.values())


def ours(path: Path, folder: Path) -> dict[tuple[str, str], dict[str, int]]:
    """Both orders of author ids of a pair → the columns, sides in this order."""
    source = folder / "in"
    source.mkdir()
    (source / path.name).symlink_to(path.resolve())
    options = BuildOptions(
        out_dir=folder / "out", pdb_dir=source, n_jobs=1, quiet=True, report=False
    )
    with open("/dev/null", "w") as nowhere:
        build(options, Console(file=nowhere))
    index = pq.read_table(folder / "out" / "index.parquet")
    author = dict(
        zip(index["chain_uid"].to_pylist(), index["auth_asym_id"].to_pylist(), strict=True)
    )
    found = {}
    for row in pq.read_table(folder / "out" / "interfaces.parquet").to_pylist():
        one, other = author[row["chain_uid_1"]], author[row["chain_uid_2"]]
        columns = {name: int(row[name]) for name in NUMBERS}
        found[one, other] = columns
        found[other, one] = {name: columns[_other_side(name)] for name in NUMBERS}
    return found


def _other_side(name: str) -> str:
    return name[:-1] + {"1": "2", "2": "1"}.get(name[-1], name[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--entries", type=int, default=50)
    options = parser.parse_args()
    files = choose(options.folder, options.entries)
    n_pairs = n_only_one = 0
    differ = dict.fromkeys(NUMBERS, 0)
    total = dict.fromkeys(NUMBERS, 0)
    for path in files:
        with tempfile.TemporaryDirectory() as temporary:
            mine = ours(path, Path(temporary))
        theirs = interfaces(path)
        here = {key: value for key, value in mine.items() if key in theirs}
        n_only_one += len(mine) // 2 - len(here) + sum(key not in mine for key in theirs)
        for key, columns in here.items():
            n_pairs += 1
            for name in NUMBERS:
                total[name] += columns[name]
                if columns[name] != theirs[key].get(name, 0):
                    differ[name] += 1
                    print(
                        f"{path.name} {key}: {name} {columns[name]}, gemmi {theirs[key].get(name)}",
                        file=sys.stderr,
                    )
    print(f"gemmi {gemmi.__version__}, Python {platform.python_version()}\n")
    print(f"{len(files)} entries, {n_pairs} pairs, {n_only_one} that only one of the two has\n")
    print("| column | pairs that differ | sum over pairs |\n|---|---|---|")
    for name in NUMBERS:
        print(f"| `{name}` | {differ[name]} | {total[name]:,} |")
    return int(bool(n_only_one or any(differ.values())))


if __name__ == "__main__":
    sys.exit(main())
