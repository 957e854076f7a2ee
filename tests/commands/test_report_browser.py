"""The report in a real browser: complete, quiet, asking for nothing, and something to see."""

from __future__ import annotations

import html
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr"),
)
HEADINGS = (
    *("Files to chains", "Left out, and why", "Chains", "Quality", "Outliers"),
    *("Gallery", "Experiments"),
    *("Organisms and ligands", "Residues", "Structure", "Ellipsoids", "Clusters and splits"),
    *("Storage", "How it was made"),
)


def browse(page: Path, *arguments: str) -> tuple[str, list[str]]:
    """(what the browser prints, what the page's console says)."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def pixels(png: Path) -> np.ndarray:
    """(height, width, channels) uint8 of a PNG of 8 bits per channel (W3C specification)."""
    data, place, packed, header = png.read_bytes(), 8, b"", b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        header = content if kind == b"IHDR" else header
        packed += content if kind == b"IDAT" else b""
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    channels = {2: 3, 6: 4}[colour]
    assert depth == 8
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * channels)
    found = np.zeros((height, width * channels), np.uint8)
    above = [0] * (width * channels)
    for y, (kind, *line) in enumerate(rows.tolist()):
        for x, value in enumerate(line):
            a = line[x - channels] if x >= channels else 0
            b = above[x]
            c = above[x - channels] if x >= channels else 0
            if kind == 4:
                p = a + b - c
                guess = min((a, b, c), key=lambda v: abs(p - v))
            else:
                guess = (0, a, b, (a + b) // 2)[kind]
            line[x] = (value + guess) & 255
        above = line
        found[y] = line
    return found.reshape(height, width, channels)


@pytest.fixture(scope="module")
def page(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("page") / "report.html"
    write_report(examples_dataset, output)
    return output


def test_the_page_is_complete_and_its_console_is_silent(page: Path) -> None:
    dom, console = browse(page, "--dump-dom")
    assert console == []
    headings = [h.replace("&amp;", "&") for h in re.findall(r"<h2>(.*?)</h2>", dom)]
    assert tuple(headings) == HEADINGS
    assert dom.count("<svg") > 30
    assert dom.count('class="bar') + dom.count("mark bar") > 100


def test_the_script_runs_under_the_page_s_own_policy(page: Path) -> None:
    dom, _ = browse(page, "--dump-dom")
    assert dom.count("data-tip=") == page.read_text().count("<title>") - 1
    assert dom.count("data-tip=") > 200
    assert '<button type="button">reason</button>' in dom
    assert 'class="tip"' in dom


def test_what_a_page_must_not_ask_for_would_be_seen(page: Path, tmp_path: Path) -> None:
    """The silence above means something: each of these breaks it."""
    text = page.read_text(encoding="utf-8")
    intruders = {
        "img-src": '<img src="http://127.0.0.1:9/x.png">',
        "style-src": '<link rel="stylesheet" href="http://127.0.0.1:9/x.css">',
        "script-src": "<script>document.title = 'owned'</script>",
        "default-src": '<iframe src="http://127.0.0.1:9/"></iframe>',
    }
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("<header>", "".join(intruders.values()) + "<header>"))
    dom, console = browse(changed, "--dump-dom")
    said = "\n".join(console)
    assert len(console) >= len(intruders)
    assert all(directive in said for directive in ("img-src", "style-src", "script-src"))
    assert "<title>owned</title>" not in dom


def with_script(page: Path, script: str) -> str:
    """The page without its policy, and with a script at its end."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", text)
    return text.replace("</body>", f"<script>{script}</script></body>")


def test_nothing_is_wider_than_the_window_and_no_bar_covers_a_heading(
    page: Path, tmp_path: Path
) -> None:
    # Frames, for a browser's window has a least width.
    measure = """
    const root = document.documentElement, bar = document.querySelector(".contents");
    const heading = document.querySelector("#storage h2");
    root.style.scrollBehavior = "auto";
    location.hash = "#storage";
    setTimeout(() => {
      const stays = getComputedStyle(bar).position === "sticky" && innerWidth < 1120;
      const covered = stays ? bar.getBoundingClientRect().bottom : 0;
      parent.postMessage([innerWidth, root.scrollWidth,
                          Math.round(heading.getBoundingClientRect().top - covered)], "*");
    }, 50);"""
    inside = html.escape(with_script(page, measure))
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border: 0" srcdoc="{inside}"></iframe>'
        for width in (400, 800, 1600)
    )
    listen = (
        "<script>addEventListener('message', e => "
        "document.body.append(`told ${e.data.join(' ')};`))</script>"
    )
    outer = tmp_path / "frames.html"
    outer.write_text(f"<!DOCTYPE html><body>{listen}{frames}</body>", encoding="utf-8")
    dom, _ = browse(outer, "--dump-dom", "--virtual-time-budget=5000")
    found = sorted(
        tuple(map(int, numbers)) for numbers in re.findall(r"told (\d+) (\d+) (-?\d+);", dom)
    )
    assert [window for window, _, _ in found] == [400, 800, 1600]
    for window, wide, room in found:
        assert wide <= window
        assert 0 <= room < 200, "the heading that was jumped to is seen, near the top"


def test_tables_can_be_filtered_by_words_in_any_case(page: Path, tmp_path: Path) -> None:
    script = """
    const box = document.querySelector("#ellipsoids .filter input");
    box.value = " LEU  ";
    box.dispatchEvent(new Event("input"));
    const rows = [...box.closest(".filter").nextElementSibling.querySelectorAll("tbody tr")];
    const seen = rows.filter(row => !row.hidden).map(row => row.cells[0].textContent);
    const told = box.nextElementSibling.textContent;
    document.body.dataset.found = [seen.join(), told, rows.length].join("|");"""
    filtered = tmp_path / "filtered.html"
    filtered.write_text(with_script(page, script), encoding="utf-8")
    dom, _ = browse(filtered, "--dump-dom")
    assert 'data-found="Leu|1 of 20|20"' in dom


SCHEMES = {"light": (1, (0, 158, 115)), "dark": (0, (47, 191, 149))}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_there_is_something_to_see_in_both_colour_schemes(
    scheme: str, page: Path, tmp_path: Path
) -> None:
    setting, green = SCHEMES[scheme]
    shot = tmp_path / "shot.png"
    browse(
        page,
        f"--screenshot={shot}",
        "--window-size=760,1100",
        "--force-device-scale-factor=0.5",
        f"--blink-settings=preferredColorScheme={setting}",
    )
    seen = pixels(shot)[..., :3].reshape(-1, 3)
    colours, counts = np.unique(seen, axis=0, return_counts=True)
    assert len(colours) > 50
    background = colours[counts.argmax()]
    assert (background.mean() > 240) == (scheme == "light")
    assert (background.mean() < 60) == (scheme == "dark")
    # The bar of what was kept.
    assert (np.abs(seen.astype(int) - green).max(axis=1) <= 6).sum() > 100
    assert counts.max() < 0.97 * len(seen)
