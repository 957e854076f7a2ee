"""What the site has beside these pages: README, CHANGELOG, benchmarks, and the Python interface.

mkdocs calls the functions (`hooks` in mkdocs.yml). Pages are written for readers of the repository,
so that links to files outside of this folder become links to the page made of them, or plain names.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import ellipsoid_flow

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
}
"""File of the repository → page of the site."""

INTERFACE = "api.md"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=relinked(text, source)))
    files.append(File.generated(config, INTERFACE, content=_interface()))
    for path in sorted(ROOT.glob("docs/notebooks/*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_page_of(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri in (*PAGES.values(), INTERFACE):
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}")


def relinked(text: str, source: str) -> str:
    """Links of a file of the repository, as they are on the site."""

    def link(match: re.Match[str]) -> str:
        picture, words, target, part = match[1], match[2], match[3], match[4] or ""
        if "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        page = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if page is not None:
            return f"{picture}[{words}]({page}{part})"
        if not (ROOT / path).exists():
            raise ValueError(f"{source}: there is no {path}, which it links to")
        return words if words.strip("`") == path else f"{words} (`{path}`)"

    return LINK.sub(link, text)


def _page_of(notebook: Path) -> str:
    """The cells of a notebook, one below the other."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    return "\n\n".join(
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell, text in zip(cells, texts, strict=True)
    )


def _interface() -> str:
    """A page of all that `ellipsoid_flow` gives."""
    lines = ["# The Python interface", "", "    from ellipsoid_flow import ShardDataset", ""]
    for name in ellipsoid_flow.__all__:
        lines += [f"::: {ellipsoid_flow.home_of(name)}.{name}", ""]
    return "\n".join(lines)
