"""An earlier plan and the inputs of today → a plan that changes as few parts as it can.

In a fresh plan, one new file moves all cuts behind it. An updated plan keeps each entry in its
part. A part in which nothing changed has its shard already; the other parts are built again. New
entries make new parts behind the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from pipeline.built.plan import Part, make_plan
from pipeline.sources import Entry, SourceFile

SameContent = Callable[[SourceFile], bool]
"""Whether the content of a file is still the same, though its size or time is not."""


Verdict = Literal["same", "touched", "changed", "new"]
"""``touched``: another size or time, and no other content."""


@dataclass(frozen=True, slots=True)
class Update:
    """What an update does.

    Attributes
    ----------
    parts : list of Part
        The plan, by number; numbers may have gaps.
    touched : list of Part
        Those of `parts` in which nothing changed but sizes and times of files, whose content is the
        same. Their shards stay.
    unchanged, changed, new, removed : int
        Entries; touched ones count as unchanged.
    parts_kept, parts_changed, parts_new, parts_gone : int
    """

    parts: list[Part]
    touched: list[Part]
    unchanged: int
    changed: int
    new: int
    removed: int
    parts_kept: int
    parts_changed: int
    parts_new: int
    parts_gone: int

    def sentence(self) -> str:
        """What changed, for people."""
        entries = (
            f"{self.unchanged:,} entries unchanged, {self.changed:,} changed, {self.new:,} new, "
            f"{self.removed:,} gone"
        )
        parts = (
            f"of the parts {self.parts_kept:,} kept, {self.parts_changed:,} to build again, "
            f"{self.parts_new:,} new, {self.parts_gone:,} gone"
        )
        return f"{entries}; {parts}"

    def counts(self) -> dict[str, int]:
        """The numbers, for the log."""
        names = [f.name for f in fields(self) if f.name not in ("parts", "touched")]
        return {name: getattr(self, name) for name in names}


def update_plan(
    before: Sequence[Part],
    entries: Sequence[Entry],
    same_content: SameContent,
    part_bytes: int = 0,
) -> Update:
    """Keep what can be kept of a plan.

    Parameters
    ----------
    before : sequence of Part
        The plan that was built.
    entries : sequence of Entry
        All of today, in their order.
    same_content : callable
        Asked for files of the same entry and name whose size or time differs.
    part_bytes : int
        Of parts of new entries; see `make_plan`.

    Notes
    -----
    An entry is the same as before if it has the same id and the same files. Members of a compressed
    tar can only be read in one pass: if anything in it changed, all of it is built again, in the
    part it was in.
    """
    home = {entry.entry_id: (part, entry) for part in before for entry in part.entries}
    packed = _archives(before, entries)
    kept: dict[int, list[Entry]] = {}
    fresh: list[Entry] = []
    verdicts: dict[str, Verdict] = {}
    for entry in entries:
        part, earlier = home.get(entry.entry_id, (None, None))
        archive = _archive(entry)
        if archive is not None:
            number = packed.number.get(archive)
            same = archive not in packed.changed
            verdicts[entry.entry_id] = "same" if same else "new" if earlier is None else "changed"
        elif part is None or earlier is None or _archive(earlier) is not None:
            number = None
            verdicts[entry.entry_id] = "new" if earlier is None else "changed"
        else:
            number = part.number
            verdicts[entry.entry_id] = _compare(earlier, entry, same_content)
        if number is None:
            fresh.append(entry)
        else:
            kept.setdefault(number, []).append(entry)

    parts: list[Part] = []
    touched: list[Part] = []
    n_changed = 0
    for part in before:
        now = Part(part.number, tuple(kept.get(part.number, ())))
        if not now.entries:
            continue
        parts.append(now)
        if now == part:
            continue
        ids = [entry.entry_id for entry in now.entries]
        as_before = ids == [entry.entry_id for entry in part.entries]
        if as_before and all(verdicts[entry_id] in ("same", "touched") for entry_id in ids):
            touched.append(now)
        else:
            n_changed += 1
    following = max((part.number for part in before), default=-1) + 1
    new = [Part(following + p.number, p.entries) for p in make_plan(fresh, part_bytes)]
    told = Counter(verdicts.values())
    return Update(
        parts=parts + new,
        touched=touched,
        unchanged=told["same"] + told["touched"],
        changed=told["changed"],
        new=told["new"],
        removed=sum(entry_id not in verdicts for entry_id in home),
        parts_kept=len(parts) - n_changed,
        parts_changed=n_changed,
        parts_new=len(new),
        parts_gone=len(before) - len(parts),
    )


def _compare(before: Entry, now: Entry, same_content: SameContent) -> Verdict:
    """Of two entries of one id, neither in a compressed tar."""
    if before == now:
        return "same"
    if len(before.candidates) != len(now.candidates):
        return "changed"
    for then, today in zip(before.candidates, now.candidates, strict=True):
        elsewhere = replace(then, size=0, mtime_ns=0, offset=None) != replace(
            today, size=0, mtime_ns=0, offset=None
        )
        if elsewhere or (then != today and not same_content(today)):
            return "changed"
    return "touched"


@dataclass(frozen=True, slots=True)
class _Archives:
    """Compressed tars: in which part each was, and which are not what they were."""

    number: dict[str, int]
    changed: set[str]


def _archives(before: Sequence[Part], entries: Sequence[Entry]) -> _Archives:
    number: dict[str, int] = {}
    then: dict[str, list[Entry]] = {}
    today: dict[str, list[Entry]] = {}
    for part in before:
        for entry in part.entries:
            if (archive := _archive(entry)) is not None:
                number[archive] = part.number
                then.setdefault(archive, []).append(entry)
    for entry in entries:
        if (archive := _archive(entry)) is not None:
            today.setdefault(archive, []).append(entry)
    return _Archives(number, {name for name in today if today[name] != then.get(name)})


def _archive(entry: Entry) -> str | None:
    """The compressed tar that an entry is in."""
    return next((f.path for f in entry.candidates if f.is_sequential), None)
