"""Whether this checkout builds as fast as another one.

    python benchmarks/two_checkouts.py FOLDER OTHER_CHECKOUT [--repeats N]

Both build the files of a folder, all and format by format, with one worker and to disk, in turns in
one run; of `--repeats` turns the least CPU time counts, start included. The commands are started as
a user starts them, so the two may differ in everything but the options. Printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

FORMATS: dict[str, tuple[str, ...]] = {
    "all": ("",),
    "cif": (".cif", ".cif.gz"),
    "pdb": (".pdb", ".pdb.gz"),
    "bcif": (".bcif", ".bcif.gz"),
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")

KEPT_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""As users have it: otherwise the start compiles the sources, three times a build."""


def build(checkout: Path, folder: Path, out: Path) -> tuple[float, dict]:
    """(CPU seconds of the whole command, its build.json)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.build", "--pdb-dir", str(folder)),
            *("--out-dir", str(out), "--n-jobs", "1", "--quiet"),
        ],
        cwd=checkout,
        env={**os.environ, **ONE_THREAD, **KEPT_BYTECODE, "PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,  # a folder may hold damaged files
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, json.loads((out / "build.json").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    options = parser.parse_args()
    checkouts = {"other": options.other.resolve(), "this": Path(__file__).resolve().parents[1]}
    print(f"{platform.machine()}, Python {platform.python_version()}, {options.folder.name}\n")
    print("| files | n | other, CPU s | this, CPU s | speed of this | digest |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for name in options.formats:
            folder = Path(work) / name
            folder.mkdir()
            paths = [
                p for p in options.folder.resolve().iterdir() if p.name.endswith(FORMATS[name])
            ]
            if not paths:
                continue
            for path in paths:
                (folder / path.name).symlink_to(path)
            least = dict.fromkeys(checkouts, float("inf"))
            digests = {}
            for turn in range(options.repeats):
                for key, checkout in checkouts.items():
                    out = Path(work) / f"{name}-{key}-{turn}"
                    seconds, built = build(checkout, folder, out)
                    least[key] = min(least[key], seconds)
                    digests[key] = built["digest"]
            same = "the same" if digests["this"] == digests["other"] else "another"
            print(
                f"| {name} | {len(paths)} | {least['other']:.2f} | {least['this']:.2f} "
                f"| {least['other'] / least['this']:.3f} | {same} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
