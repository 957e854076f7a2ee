"""What there is to build: the inputs of today, cut into parts; or an earlier plan, brought up to
date."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from pipeline.build.earlier import EarlierBuild
from pipeline.build.obsolete import Obsolete
from pipeline.build.run import Run
from pipeline.build.update import Update, update_plan
from pipeline.built.errors import OutputError
from pipeline.built.plan import Part, make_plan
from pipeline.built.records import InputRecord, records_beside
from pipeline.commands.words import MEBIBYTE
from pipeline.errors import UsageError
from pipeline.sources import Discovery, SourceError, discover, group_entries


@dataclass(frozen=True, slots=True)
class Planned:
    """The parts of a build.

    Attributes
    ----------
    inputs : Discovery
    parts : list of Part
    others : list of InputRecord
        What was found and is in no part.
    update : Update or None
        What an update changes of the earlier plan.
    earlier : EarlierBuild or None
        The build that is updated: a plan and hashes of every file, which take memory.
    """

    inputs: Discovery
    parts: list[Part]
    others: list[InputRecord]
    update: Update | None = None
    earlier: EarlierBuild | None = None

    def renewed(self, run: Run) -> Planned:
        """The same, once the records of touched parts vouch for the files as they are now."""
        if self.earlier is None or self.update is None:
            return self
        try:
            self.earlier.renew(self.update)
        except OSError as error:
            raise OutputError.of(f"cannot write to {run.layout.folder}", error) from error
        return replace(self, earlier=None)


def plan_parts(run: Run) -> Planned:
    """See that the options make sense, search the inputs, and cut them into parts. Nothing is
    written.

    Raises
    ------
    UsageError
        Options make no sense, or there are no inputs.
    StorageError
    """
    options = run.options
    options.check()
    # Before the search, which may take hours.
    obsolete = None if options.obsolete is None else Obsolete.read(options.obsolete)
    try:
        inputs = discover(options.pdb_dir, options.pdb_list, exclude=[run.layout.place])
    except SourceError as error:
        raise UsageError(str(error)) from error
    entries, others = group_entries(inputs.files), records_beside(inputs)
    if obsolete is not None:
        entries, left_out = obsolete.part(entries)
        others += left_out
        n, n_listed = len({r.entry_id for r in left_out}), len(obsolete.successors)
        run.tell(f"obsolete: {n:,} of {n_listed:,} listed entries found in the input and left out")
    part_bytes = options.part_size * MEBIBYTE
    earlier = EarlierBuild(run.layout, run.reading) if options.update else None
    if earlier is not None and earlier.parts:
        same_content = partial(earlier.holds_the_same, inputs.root)
        update = update_plan(earlier.parts, entries, same_content, part_bytes)
        run.tell(f"update: {update.sentence()}")
        planned = Planned(inputs, update.parts, others, update, earlier)
    else:
        planned = Planned(inputs, make_plan(entries, part_bytes), others)
    if not planned.parts and not others:
        raise UsageError(f"{options.pdb_dir or options.pdb_list} holds no files")
    return planned
