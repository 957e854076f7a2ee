"""What a run of the command knows from its first moment on; it is passed whole."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rich.console import Console

from pipeline.build.event_log import EventLog
from pipeline.build.options import BuildOptions
from pipeline.built.build_summary import BuildSummary
from pipeline.built.layout import Layout
from pipeline.built.reading import Reading
from pipeline.commands.command_line import to_yaml
from pipeline.files.place import Place


@dataclass(frozen=True)
class Run:
    """One run of the command.

    Attributes
    ----------
    options : BuildOptions
    layout : Layout
        Of the output folder.
    console : Console
    log : EventLog
        Whoever writes to it enters it.
    planned : Reading or None
        The configuration of an array job's plan, in a run that builds or joins parts of it.
    started : float
        `time.monotonic`.
    """

    options: BuildOptions
    layout: Layout
    console: Console
    log: EventLog
    planned: Reading | None = None
    started: float = field(default_factory=time.monotonic)

    @cached_property
    def reading(self) -> Reading:
        """How files become chains: as was planned, or else as the options say."""
        return self.options.whole_reading() if self.planned is None else self.planned

    def by_plan(self, reading: Reading) -> Run:
        """The same run, with the configuration of a plan."""
        return replace(self, planned=reading)

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self.started

    def tell(self, sentence: str) -> None:
        """Print a sentence."""
        self.console.print(sentence, highlight=False, markup=False)

    def allows(self, n_failed: int) -> bool:
        """Whether so many files may fail; if not, the run has failed."""
        return n_failed <= self.options.allow_failures

    def options_text(self) -> str:
        """The YAML that makes this dataset again, to lie beside it."""
        options = self.options
        # Of a store, everything that it takes to reach it: what is given may lean on the
        # environment.
        whole: dict[str, Any] = {
            name: Place(place.folder)
            for name in ("out_dir", "pdb_dir", "pdb_list")
            if (place := getattr(options, name)) is not None and not place.folder.is_local
        }
        return to_yaml(replace(options, overwrite=False, plan=False, update=False, **whole))


@dataclass(frozen=True, slots=True)
class Finished:
    """A dataset that a run has made.

    Attributes
    ----------
    summary : BuildSummary
    n_built, n_parts : int
        Parts that this run has built, and all.
    seconds : float
        That it took.
    """

    summary: BuildSummary
    n_built: int
    n_parts: int
    seconds: float
