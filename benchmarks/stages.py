"""Where the time of an mmCIF entry goes, from the stored file to its chains.

    python benchmarks/stages.py FOLDER [--repeats 4] [--limit N]

One process, one thread. Each stage of each file is timed alone; the best of the repeats counts, and
the mean over the files is printed. Files that a stage refuses are left out of all.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from build_speed import describe_machine, pin_to_idlest_core, use_worker_environment

from pipeline.features import compute_features
from pipeline.parsing import NotAStructure, ParseError, cif_atoms, read_chains
from pipeline.parsing.cif_entry import read_entry
from pipeline.parsing.cif_text import CifText
from pipeline.parsing.errors import Irregular
from pipeline.sources import decompress

MAX_BYTES = 1 << 30


class Clock:
    """Seconds by stage, of one file."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        found = function(*arguments)
        self.seconds[stage] = time.perf_counter() - started
        return found


def time_file(stored: bytes) -> dict[str, float]:
    clock = Clock()
    data = clock("gunzip", decompress, stored, MAX_BYTES)
    document = clock("lines and categories", CifText, data)
    table = clock("columns of atom_site", document.table, "atom_site")
    clock("other categories", read_entry, document.category, document.name)
    clock("atoms", cif_atoms.read_atoms, table, "first")
    parsed = clock("whole reader", read_chains, data, "entry")
    clock("features", compute_features, parsed.chains)
    before = ("lines and categories", "columns of atom_site", "other categories", "atoms")
    reader = clock.seconds.pop("whole reader")
    features = clock.seconds.pop("features")
    clock.seconds["chains from atoms"] = reader - sum(clock.seconds[stage] for stage in before)
    clock.seconds["features"] = features
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--limit", type=int, default=0, help="files; 0: all")
    options = parser.parse_args()
    use_worker_environment()
    for line in describe_machine():
        print(line)
    pin_to_idlest_core()
    files = sorted(options.folder.glob("*.cif.gz"))[: options.limit or None]
    stored = [path.read_bytes() for path in files]
    gc.collect()
    gc.freeze()
    best: dict[int, dict[str, float]] = {}
    for _ in range(options.repeats):
        for k, data in enumerate(stored):
            try:
                found = time_file(data)
            except (Irregular, NotAStructure, ParseError):
                continue
            known = best.setdefault(k, found)
            best[k] = {stage: min(known[stage], found[stage]) for stage in found}
    print(f"\n{len(best)} of {len(files)} files; mean ms per entry")
    for stage in next(iter(best.values()), {}):
        mean = sum(seconds[stage] for seconds in best.values()) / len(best)
        print(f"{stage:<22}{1e3 * mean:8.2f}")


if __name__ == "__main__":
    main()
