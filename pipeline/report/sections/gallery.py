"""The gallery: what the chains look like."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pipeline.report.gather import Numbers
from pipeline.report.portrait import portrait
from pipeline.report.wording import legible


def gallery(numbers: Numbers, pages: str | None) -> dict[str, Any]:
    """A small picture of each chain.

    Parameters
    ----------
    pages : str or None
        The file beside the report that shows the chains, if there is one.
    """
    groups = []
    for title, chains in (
        ("Like most others", numbers.gallery.typical),
        ("Strange", numbers.gallery.strange),
    ):
        pictures = [
            {
                "name": legible(shown.stored.chain.uid, 40),
                "why": legible(shown.why, 60),
                "drawing": portrait(
                    shown.stored, f"{legible(shown.stored.chain.uid, 60)}: {shown.why}"
                ),
                "page": None
                if pages is None
                else f"{quote(pages)}#{quote(shown.stored.chain.uid, safe='')}",
            }
            for shown in chains
        ]
        if pictures:
            groups.append({"title": title, "pictures": pictures})
    return {"galleries": groups, "gallery_problem": legible(numbers.gallery.problem, 240)}
