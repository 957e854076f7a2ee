"""Makes ``docs/picture.png``: a protein as ellipsoids, and the report of its dataset beside it.

``python docs/picture.py`` builds the example entries, takes both pages as a browser shows them, and
puts the pictures side by side. It needs chromium.
"""

from __future__ import annotations

import argparse
import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "data_manifest" / "examples"
SIDE = 640
"""Pixels of each picture, in height and width."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entry", default="1ubi")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".png"))
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        dataset, page = work / "examples", work / "protein.html"
        run("pipeline.build", "--pdb-dir", EXAMPLES, "--out-dir", dataset, "--quiet")
        run("pipeline.export", dataset, "--entry", options.entry, "--view", page)
        protein, report, both = (work / f"{n}.png" for n in ("protein", "report", "both"))
        take(options.browser, page, protein, SIDE, SIDE)
        take(options.browser, dataset / "report.html", report, 1000, 1000)
        beside = work / "beside.html"
        beside.write_text(side_by_side(protein, report), encoding="utf-8")
        take(options.browser, beside, both, 2 * SIDE + 24, SIDE)
        shutil.copy(both, options.out)
    print(options.out)


def run(module: str, *arguments: object) -> None:
    """One of the project's commands."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def take(browser: str, page: Path, picture: Path, width: int, height: int) -> None:
    """What a window of this size shows of a page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--no-first-run"),
                *("--enable-unsafe-swiftshader", "--virtual-time-budget=300"),
                *(f"--user-data-dir={profile}", f"--window-size={width},{height}"),
                *(f"--screenshot={picture}", page.as_uri()),
            ],
            check=True,
            capture_output=True,
        )


def side_by_side(protein: Path, report: Path) -> str:
    """A page of two pictures of one size."""
    images = "".join(
        f'<img src="{html.escape(path.as_uri())}" width="{SIDE}" height="{SIDE}">'
        for path in (protein, report)
    )
    style = "body{margin:0;display:flex;gap:24px;background:#fff}"
    return f"<!DOCTYPE html><style>{style}</style><body>{images}</body>"


if __name__ == "__main__":
    main()
