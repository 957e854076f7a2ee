"""Where the chains come from: files, what became of them, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.built.build_summary import FromManifest
from pipeline.commands.words import several
from pipeline.report.gather import Files, Numbers, Reason
from pipeline.report.reasons import meaning
from pipeline.report.sections.elements import MOST_REASONS, MOST_ROWS, Bar, bar
from pipeline.report.wording import count, legible, share, size


def origin(numbers: Numbers) -> dict[str, Any]:
    """Files and chains by what became of them, with the reasons."""
    files_found, drops = numbers.files, numbers.drops
    n_dropped = sum(r.n for r in drops or ())
    context: dict[str, Any] = {
        "file_bars": [],
        "chain_bars": [],
        "file_note": "",
        "reasons": [],
        "flags": [],
        "failed_share": "",
        "none_failed": False,
        "not_found": "",
    }
    if files_found is not None:
        context["file_bars"] = _file_bars(files_found)
        context["file_note"] = _file_note(files_found)
        context["flags"] = files_found.flags[:MOST_ROWS]
        context["none_failed"] = not files_found.n_failed
        context["failed_share"] = share(files_found.n_failed, files_found.found)
        for status, reasons in (("failed", files_found.failed), ("skipped", files_found.skipped)):
            context["reasons"] += [_reason_row(status, r) for r in reasons]
    if drops is not None:
        n_read = numbers.chains.n + n_dropped
        context["chain_bars"] = [
            bar("read", n_read, n_read, "all"),
            bar("dropped", n_dropped, n_read, "dropped"),
            *_sub_bars(drops, n_read, "dropped"),
            bar("kept", numbers.chains.n, n_read, "ok"),
        ]
        context["reasons"] += [_reason_row("dropped", r) for r in drops]
    hidden = len(context["reasons"]) - MOST_REASONS
    context["reasons"] = context["reasons"][:MOST_REASONS]
    context["n_more_reasons"] = max(0, hidden)
    if numbers.build.manifest is not None:
        context["not_found"] = " ".join(_not_found(numbers.build.manifest))
    return context


def _not_found(manifest: FromManifest) -> Iterator[str]:
    """What the manifest lists in vain."""
    if manifest.not_found:
        first = ", ".join(legible(n, 40) for n in manifest.first_not_found[:10])
        yield (
            f"{count(manifest.not_found)} of the manifest's {count(manifest.entries)} entries were "
            f"not among the files: {first}" + (" …." if manifest.not_found > 10 else ".")
        )
    if n := manifest.chains_not_found:
        chains = manifest.first_chains_not_found[:10]
        first = ", ".join(f"{legible(c.chain, 40)} of {legible(c.entry_id, 40)}" for c in chains)
        yield (
            f"{several(n, 'chain')} that the manifest lists {'is' if n == 1 else 'are'} not in the "
            f"entry: {first}" + (" …." if n > 10 else ".")
        )


def _file_bars(files: Files) -> list[Bar]:
    bars = [bar("found", files.found, files.found, "all")]
    for name, reasons in (("failed", files.failed), ("skipped", files.skipped)):
        bars.append(bar(name, sum(r.n for r in reasons), files.found, name))
        bars += _sub_bars(reasons, files.found, name)
    return [*bars, bar("read", files.ok, files.found, "ok")]


def _sub_bars(reasons: Sequence[Reason], whole: int, kind: str) -> list[Bar]:
    shown = [bar(legible(r.reason, 40), r.n, whole, f"{kind} sub") for r in reasons[:5]]
    rest = reasons[5:]
    if rest:
        n = sum(r.n for r in rest)
        shown.append(bar(several(len(rest), "other reason"), n, whole, f"{kind} sub"))
    return shown


def _file_note(files: Files) -> str:
    formats = ", ".join(f"{count(n)} {_FORMATS.get(f, legible(f, 20))}" for f, n in files.formats)
    return f"{size(files.n_bytes)} as stored" + (f": {formats}." if formats else ".")


_FORMATS = {"pdb": "PDB", "cif": "mmCIF", "bcif": "BinaryCIF"}


def _reason_row(status: str, reason: Reason) -> dict[str, Any]:
    return {
        "status": status,
        "reason": legible(reason.reason, 60),
        "meaning": meaning(reason.reason),
        "n": reason.n,
        "examples": [(legible(e.input, 120), legible(e.message, 240)) for e in reason.examples],
    }
