"""Numbers → one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import jinja2
from markupsafe import Markup

from pipeline.commands.words import several
from pipeline.report.gather import Numbers
from pipeline.report.sections.chains import (
    composition,
    experiments,
    length_figures,
    quality_figures,
    structure,
)
from pipeline.report.sections.ellipsoids import ellipsoids
from pipeline.report.sections.gallery import gallery
from pipeline.report.sections.header import header, making
from pipeline.report.sections.interfaces import interface_figures
from pipeline.report.sections.organisms import organisms
from pipeline.report.sections.origin import origin
from pipeline.report.sections.outliers import outliers
from pipeline.report.sections.quality import measure_figures, ramachandran
from pipeline.report.sections.splits import splits
from pipeline.report.sections.storage import storage
from pipeline.report.wording import count, legible, size


def render(numbers: Numbers, chain_pages: str | None = None) -> str:
    """The page. The same numbers give the same text.

    Parameters
    ----------
    chain_pages : str, optional
        Name of the file beside it that shows the outliers.
    """
    here = files("pipeline.report")

    def resource(name: str) -> str:
        return here.joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(count=count, legible=legible, size=size)
    script = resource("page.js")
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.from_string(resource("page.html.jinja")).render(
        style=Markup(resource("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{policy}",
        several=several,
        **header(numbers),
        **origin(numbers),
        length_figures=[
            *length_figures(numbers.chains),
            *interface_figures(numbers.interfaces),
        ],
        **experiments(numbers.chains),
        composition=composition(numbers.scan),
        **structure(numbers.chains),
        quality_figures=quality_figures(numbers.chains, numbers.scan),
        measure_figures=measure_figures(numbers.chains),
        **ramachandran(numbers.scan),
        **outliers(numbers, chain_pages),
        **gallery(numbers, chain_pages),
        **organisms(numbers.chains),
        **ellipsoids(numbers),
        splits=splits(numbers),
        **storage(numbers),
        **making(numbers),
    )
    # A lone surrogate that slipped through would make the page impossible to write.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")
