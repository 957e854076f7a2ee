"""Numbers → one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.commands.words import MEBIBYTE, several
from pipeline.report.charts import (
    column_chart,
    composition_chart,
    fraction_map,
    histogram_chart,
    year_chart,
)
from pipeline.report.ellipsoid_charts import (
    SMALLEST,
    by_volume,
    common_window,
    ellipsoid_drawing,
    size_chart,
)
from pipeline.report.gather import Chains, Confidence, Files, Numbers, Reason, Splits
from pipeline.report.histogram import Histogram, histogram
from pipeline.report.reasons import meaning
from pipeline.report.reference_composition import SWISS_PROT_PERCENT, SWISS_PROT_RELEASE
from pipeline.report.scan_shards import Scan
from pipeline.report.wording import count, legible, plain, share, size
from pipeline.residues import ONE_LETTER, RESTYPES

MOST_ROWS = 12
"""Rows of a list that the data make as long as they like; what is over is summed up."""
MOST_REASONS = 40
MOST_SHARDS = 100


@dataclass(frozen=True)
class Bar:
    """A line of a table with a bar: a name, a number, its share."""

    name: str
    n: int
    text: str
    share: str
    width: float
    kind: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with the sentence below it."""

    title: str
    drawing: Markup
    caption: str
    wide: bool = False


def render(numbers: Numbers) -> str:
    """The page. The same numbers give the same text."""
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
        **_header(numbers),
        **_origin(numbers),
        length_figures=_length_figures(numbers.chains),
        **_experiments(numbers.chains),
        composition=_composition(numbers.scan),
        **_structure(numbers.chains),
        quality_figures=_quality_figures(numbers.chains),
        **_ellipsoids(numbers),
        splits=_splits(numbers),
        **_storage(numbers),
        **_making(numbers),
    )
    # A lone surrogate that slipped through would make the page impossible to write.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


# ---- header -----------------------------------------------------------------------------------


def _header(numbers: Numbers) -> dict[str, Any]:
    chains, build = numbers.chains, numbers.build
    n_bytes = sum(numbers.scan.shard_bytes)
    tiles = [
        (count(chains.n_entries), "entry" if chains.n_entries == 1 else "entries"),
        (count(chains.n), "chain" if chains.n == 1 else "chains"),
        (count(chains.n_residues), "residues"),
        (share(chains.n_resolved, chains.n_residues), "of them resolved"),
        (size(n_bytes), f"in {several(len(numbers.scan.shard_bytes), 'shard')}"),
    ]
    if chains.n_residues:
        tiles.append((f"{n_bytes / chains.n_residues:.1f}", "bytes per residue"))
    licences = build.get("sources") or {}
    sources = [
        (legible(name), count(value.get("chains", 0)), legible(value.get("licence", ""), 300))
        for name, value in list(licences.items())[:MOST_ROWS]
    ]
    software = build.get("software") or {}
    made_with = [f"schema {build['schema_version']}"] + [
        legible(f"{key} {software[key]}", 60)
        for key in ("ellipsoid-flow", "python", "numpy", "pyarrow")
        if key in software
    ]
    return {
        "made_with": " · ".join(made_with),
        "name": legible(numbers.name, 120) or "dataset",
        "digest": legible(build["digest"]),
        "config_hash": legible(build.get("config_hash", "")),
        "schema_version": build["schema_version"],
        "tiles": tiles,
        "origins": _derived_from(build),
        "sources": sources,
        "is_empty": not chains.n,
    }


def _derived_from(build: dict[str, Any]) -> list[str]:
    """Sentences about the datasets that `pipeline.subset` took this one from."""
    derived = build.get("derived_from")
    if not isinstance(derived, dict):
        return []
    where = f" where {legible(derived['where'], 200)}" if derived.get("where") else ""
    return [
        f"{count(d.get('kept') or 0)} of {several(int(d.get('chains') or 0), 'chain')} of the "
        f"dataset {legible(d.get('digest', ''))[:16]}…{where}"
        for d in list(derived.get("datasets") or ())[:MOST_ROWS]
    ]


# ---- where the chains come from ---------------------------------------------------------------


def _origin(numbers: Numbers) -> dict[str, Any]:
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
            _bar("read", n_read, n_read, "all"),
            _bar("dropped", n_dropped, n_read, "dropped"),
            *_sub_bars(drops, n_read, "dropped"),
            _bar("kept", numbers.chains.n, n_read, "ok"),
        ]
        context["reasons"] += [_reason_row("dropped", r) for r in drops]
    hidden = len(context["reasons"]) - MOST_REASONS
    context["reasons"] = context["reasons"][:MOST_REASONS]
    context["n_more_reasons"] = max(0, hidden)
    manifest = numbers.build.get("manifest")
    if manifest and manifest.get("not_found"):
        first = ", ".join(legible(n, 40) for n in manifest.get("first_not_found", ())[:10])
        context["not_found"] = (
            f"{count(manifest['not_found'])} of the manifest's {count(manifest['entries'])} "
            f"entries were not among the files: {first}"
            + (" …" if manifest["not_found"] > 10 else "")
        )
    return context


def _file_bars(files: Files) -> list[Bar]:
    bars = [_bar("found", files.found, files.found, "all")]
    for name, reasons in (("failed", files.failed), ("skipped", files.skipped)):
        bars.append(_bar(name, sum(r.n for r in reasons), files.found, name))
        bars += _sub_bars(reasons, files.found, name)
    return [*bars, _bar("read", files.ok, files.found, "ok")]


def _sub_bars(reasons: Sequence[Reason], whole: int, kind: str) -> list[Bar]:
    shown = [_bar(legible(r.reason, 40), r.n, whole, f"{kind} sub") for r in reasons[:5]]
    rest = reasons[5:]
    if rest:
        n = sum(r.n for r in rest)
        shown.append(_bar(several(len(rest), "other reason"), n, whole, f"{kind} sub"))
    return shown


def _bar(name: str, n: int, whole: int, kind: str = "", note: str = "") -> Bar:
    width = round(100 * n / whole, 2) if whole else 0.0
    return Bar(name, n, count(n), share(n, whole), width, kind, note)


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


# ---- what is in it ----------------------------------------------------------------------------


def _length_figures(chains: Chains) -> list[Figure]:
    if not chains.n:
        return []
    return [
        Figure(
            "Chain length",
            histogram_chart(
                chains.length, "Histogram of chain lengths", "residues", "chains", " residues"
            ),
            f"{_middle(chains.length, '')} residues. Unresolved residues inside a chain count, "
            f"unresolved ends do not.{_above(chains.length, ' residues', 'chains')}",
        ),
        Figure(
            "Chains of an entry",
            column_chart(
                _class_columns(chains.chains_per_entry),
                "Entries by number of chains",
                "chains in this dataset",
                "entries",
            ),
            f"{several(chains.n_entries, 'entry', 'entries')} with "
            f"{chains.n / chains.n_entries:.1f} chains on average.",
        ),
    ]


def _class_columns(classes: Sequence[tuple[int, int, int]]) -> list[tuple[str, int]]:
    """Classes of sizes with their names; the largest are one class if there are many."""
    columns = [(str(a) if a == b else f"{a:,}–{b:,}", n) for a, b, n in classes]
    if len(columns) > 10:
        rest = sum(n for _, n in columns[9:])
        columns = [*columns[:9], (f"≥ {classes[9][0]:,}", rest)]
    return columns


def _middle(shown: Histogram, unit: str) -> str:
    low, lower, median, upper, high = (plain(round(q, 2)) for q in shown.quartiles)
    if low == high:
        return f"The value is {median}{unit} throughout"
    return (
        f"The median is {median}{unit}; half of the values lie between {lower} and {upper}{unit}, "
        f"all between {low} and {high}{unit}"
    )


def _above(shown: Histogram, unit: str, things: str) -> str:
    if not shown.n_above:
        return ""
    return (
        f" The column “more” holds the {several(shown.n_above, things.removesuffix('s'), things)} "
        f"over {plain(shown.edges[-1])}{unit}."
    )


def _experiments(chains: Chains) -> dict[str, Any]:
    n = chains.n_entries
    bars = [
        _bar(legible(name, 80) if name else "not said (predicted models)", k, n)
        for name, k in chains.methods[:MOST_ROWS]
    ]
    rest = chains.methods[MOST_ROWS:]
    if rest:
        bars.append(_bar(f"{count(len(rest))} others", sum(k for _, k in rest), n))
    figures = []
    if chains.resolution.n:
        missing = chains.resolution.n_missing
        figures.append(
            Figure(
                "Resolution",
                histogram_chart(
                    chains.resolution,
                    "Histogram of resolutions",
                    "resolution / Å",
                    "entries",
                    " Å",
                ),
                f"{_middle(chains.resolution, ' Å')}."
                f"{_above(chains.resolution, ' Å', 'entries')}"
                + (f" {_without(missing, n)} no resolution, as NMR and models do." * bool(missing)),
            )
        )
    if chains.years:
        figures.append(
            Figure(
                "Year of release",
                year_chart(chains.years, "Entries by year of release"),
                f"From {min(chains.years)} to {max(chains.years)}."
                + (f" {_without(chains.n_undated, n)} no release date." * bool(chains.n_undated)),
            )
        )
    return {"method_bars": bars, "experiment_figures": figures, "n_entries": n}


def _without(missing: int, whole: int) -> str:
    verb = "has" if missing == 1 else "have"
    return f"{several(missing, 'entry', 'entries')} ({share(missing, whole)}) {verb}"


def _composition(scan: Scan) -> Figure | None:
    total = int(scan.composition.sum())
    if not total:
        return None
    percent = [100 * int(n) / total for n in scan.composition]
    names = [*(r.capitalize() for r in RESTYPES), "unknown"]
    most = sorted(range(20), key=lambda k: -percent[k])[:2]
    away = max(range(20), key=lambda k: abs(percent[k] / SWISS_PROT_PERCENT[ONE_LETTER[k]] - 1))
    ratio = percent[away] / SWISS_PROT_PERCENT[ONE_LETTER[away]]
    return Figure(
        "Residue composition",
        composition_chart(
            ONE_LETTER,
            names,
            percent,
            SWISS_PROT_PERCENT,
            SWISS_PROT_RELEASE,
            "Share of each residue type, beside that of Swiss-Prot",
        ),
        f"All {count(total)} rows, unresolved ones included. {names[most[0]]} and "
        f"{names[most[1]]} are the most frequent; farthest from the reference is {names[away]}, "
        f"{ratio:.2f} times as frequent. X, residues that are none of the twenty under any name: "
        f"{share(int(scan.composition[20]), total)}. Reference: {SWISS_PROT_RELEASE}, release "
        "statistics.",
        wide=True,
    )


def _structure(chains: Chains) -> dict[str, Any]:
    if not chains.n:
        return {"sse": [], "structure_figures": []}
    kinds = [("helix", "helix"), ("strand", "strand"), ("coil", "coil")]
    sse = [
        {"name": name, "kind": kind, "share": share(value, 1), "width": round(100 * value, 2)}
        for (name, kind), value in zip(kinds, chains.secondary, strict=True)
    ]
    figures = [
        Figure(
            "Helix and strand, chain by chain",
            fraction_map(chains.helix_strand, "Chains by helix and strand fraction"),
            "The stronger the colour, the more chains. All-α proteins lie along the bottom, all-β "
            "ones along the left edge; on the diagonal there is no coil. Assigned from CA (P-SEA).",
        ),
        Figure(
            "Radius of gyration",
            histogram_chart(
                chains.radius_of_gyration,
                "Histogram of radii of gyration",
                "radius of gyration / Å",
                "chains",
                " Å",
            ),
            f"{_middle(chains.radius_of_gyration, ' Å')}, of the CA of resolved residues."
            f"{_above(chains.radius_of_gyration, ' Å', 'chains')}",
        ),
    ]
    return {"sse": sse, "structure_figures": figures}


def _quality_figures(chains: Chains) -> list[Figure]:
    if not chains.n:
        return []
    return [
        Figure(
            "Completeness",
            histogram_chart(
                chains.completeness,
                "Histogram of resolved fractions",
                "residues with N, CA and C",
                "chains",
                percent=True,
            ),
            f"{count(chains.n_whole)} chains ({share(chains.n_whole, chains.n)}) are resolved from "
            "end to end; in the others, residues are rows with an empty mask.",
        ),
        *(_confidence_figure(c) for c in chains.confidence[:4] if c.means.n),
    ]


def _confidence_figure(confidence: Confidence) -> Figure:
    n = f"{several(confidence.chains, 'chain')} with {several(confidence.residues, 'residue')}"
    if confidence.kind == "plddt":
        return Figure(
            "pLDDT",
            histogram_chart(
                confidence.means,
                "Histogram of mean pLDDT",
                "mean pLDDT of a chain",
                "chains",
                colour=_plddt_band,
            ),
            f"{_middle(confidence.means, '')}, in {n}. Colours are the bands of AlphaFold DB: very "
            "high (over 90), confident (over 70), low (over 50), very low.",
        )
    title = "B-factor" if confidence.kind is None else f"Confidence: {legible(confidence.kind, 40)}"
    unit = " Å²" if confidence.kind is None else ""
    return Figure(
        title,
        histogram_chart(
            confidence.means,
            f"Histogram of mean values: {title}",
            "mean B-factor of a chain / Å²" if confidence.kind is None else "mean of a chain",
            "chains",
            unit,
        ),
        f"{_middle(confidence.means, unit)}, in {n}.{_above(confidence.means, unit, 'chains')}",
    )


def _plddt_band(value: float) -> str:
    bands = ((90, "very-high"), (70, "confident"), (50, "low"))
    return "bar plddt " + next((name for least, name in bands if value >= least), "very-low")


# ---- ellipsoids -------------------------------------------------------------------------------


def _ellipsoids(numbers: Numbers) -> dict[str, Any]:
    scan, config = numbers.scan, numbers.build["config"]
    order = by_volume(scan.all_atoms)
    if not order:
        return {"ellipsoids": [], "size_figures": [], "ellipsoid_note": "", "ellipsoid_rows": []}
    base = float(config.get("base_thickness", 0))
    window = common_window(order, scan.all_atoms, scan.side_chain)
    figures = [
        Figure(
            name,
            size_chart(
                order,
                scan.all_atoms.scale[a],
                scan.side_chain.scale[a],
                "scale / Å",
                " Å",
                f"Scale along {axis} by residue type",
                base,
            ),
            "",
        )
        for a, (axis, name) in enumerate(
            (
                ("x", "Along x, towards C"),
                ("y", "Along y, towards N"),
                ("z", "Along z, off their plane"),
            )
        )
    ]
    figures.append(
        Figure(
            "Volume",
            size_chart(
                order,
                scan.all_atoms.volume,
                scan.side_chain.volume,
                "volume / Å³",
                " Å³",
                "Volume by residue type",
                None,
            ),
            "",
        )
    )
    return {
        "ellipsoids": [
            {
                "name": RESTYPES[k].capitalize(),
                "marked": RESTYPES[k] in SMALLEST,
                "drawing": ellipsoid_drawing(k, scan.all_atoms, scan.side_chain, window),
                "volumes": f"{scan.all_atoms.volume.median[k]:.1f} / "
                f"{scan.side_chain.volume.median[k]:.1f} Å³",
            }
            for k in order
        ],
        "size_figures": figures,
        "ellipsoid_note": _sampling(scan, numbers.chains, config),
        "ellipsoid_rows": [_ellipsoid_row(k, scan) for k in order],
        "smallest_sentence": _smallest(scan, base),
        "base_thickness": plain(base),
        "is_full": config.get("shape") == "full",
    }


def _sampling(scan: Scan, chains: Chains, config: dict[str, Any]) -> str:
    measured = several(int(scan.n_types.sum()), "complete residue")
    shape = "true second moments" if config.get("shape") == "full" else "axis-aligned ellipsoids"
    if scan.is_sample:
        part = (
            f"a sample, evenly spread over the shards: {count(scan.sampled_chains)} of "
            f"{count(chains.n)} chains, {count(scan.sampled_residues)} of "
            f"{count(chains.n_residues)} residues"
        )
        return f"Medians over {measured} ({shape}) of {part}."
    return f"Medians over all {measured} ({shape})."


def _smallest(scan: Scan, base: float) -> str:
    known = [k for k in (RESTYPES.index(n) for n in SMALLEST) if scan.n_types[k]]
    if not known:
        return ""
    volumes = "; ".join(
        f"{RESTYPES[k].capitalize()} {scan.side_chain.volume.median[k]:.2f} Å³ against "
        f"{scan.all_atoms.volume.median[k]:.2f} Å³"
        for k in known
    )
    return (
        "Why all atoms: a side chain of no atom (Gly) or one (Ala) has no extent, so its ellipsoid "
        f"collapses to a ball of the base thickness, {plain(base)} Å, that overlaps hardly "
        f"anything; with the backbone they have a body like the others ({volumes})."
    )


def _ellipsoid_row(k: int, scan: Scan) -> dict[str, Any]:
    whole, alone = scan.all_atoms, scan.side_chain
    return {
        "name": RESTYPES[k].capitalize(),
        "marked": RESTYPES[k] in SMALLEST,
        "n": int(scan.n_types[k]),
        "whole": [
            *(f"{s.median[k]:.2f}" for s in whole.scale),
            f"{whole.volume.median[k]:.1f}",
        ],
        "alone": [
            *(f"{s.median[k]:.2f}" for s in alone.scale),
            f"{alone.volume.median[k]:.1f}",
        ],
    }


# ---- splits -----------------------------------------------------------------------------------


def _splits(numbers: Numbers) -> dict[str, Any] | None:
    splits = numbers.splits
    if splits is None:
        return None
    if isinstance(splits, str):
        return {"problem": splits, "rows": [], "figures": [], "remarks": [], "strip": []}
    shown = splits.splits[:MOST_ROWS]
    rows = [
        {
            "name": "in no split" if s.name is None else legible(s.name, 60),
            "chains": s.chains,
            "share": share(s.chains, numbers.chains.n),
            "residues": s.residues,
            "entries": s.entries,
            "clusters": s.clusters,
            "kind": "none" if s.name is None else f"split-{k % 6}",
            "width": round(100 * s.chains / max(1, numbers.chains.n), 2),
            "note": ", ".join(f"{count(n)} {legible(r, 40)}" for r, n in s.reasons[:5]),
        }
        for k, s in enumerate(shown)
    ]
    return {
        "problem": "",
        "rows": rows,
        "figures": _cluster_figures(splits),
        "remarks": _split_remarks(splits, numbers.chains.n),
        "method": legible(splits.method or "", 40),
    }


def _cluster_figures(splits: Splits) -> list[Figure]:
    if not splits.cluster_sizes:
        return []
    caption = f"{several(splits.n_clusters or 0, 'cluster')}; the largest has "
    caption += f"{several(splits.largest_cluster, 'chain')}."
    if splits.n_components is not None:
        caption += (
            f" Entries that share clusters form {several(splits.n_components, 'component')}, the "
            f"largest with {several(splits.largest_component, 'chain')}."
        )
    return [
        Figure(
            "Cluster sizes",
            column_chart(
                _class_columns(splits.cluster_sizes),
                "Sequence clusters by number of chains",
                "chains in a cluster",
                "clusters",
            ),
            caption,
        )
    ]


def _split_remarks(splits: Splits, n_chains: int) -> list[str]:
    remarks = []
    if splits.is_of_other_data:
        remarks.append(
            "These splits were made for a dataset with another digest: run python -m "
            "pipeline.split again."
        )
    if splits.n_unknown:
        remarks.append(
            f"splits.parquet lists {several(splits.n_unknown, 'chain')} that this dataset does not "
            "have."
        )
    if splits.n_unlisted:
        remarks.append(
            f"{several(splits.n_unlisted, 'chain')} of {count(n_chains)} are not in splits.parquet."
        )
    hidden = len(splits.splits) - MOST_ROWS
    if hidden > 0:
        remarks.append(f"{several(hidden, 'further split')} not shown.")
    return remarks


# ---- storage ----------------------------------------------------------------------------------


def _storage(numbers: Numbers) -> dict[str, Any]:
    scan, residues = numbers.scan, max(1, numbers.chains.n_residues)
    total = sum(scan.shard_bytes)
    ranked = sorted(scan.column_bytes.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:14], ranked[14:]
    if rest:
        shown.append((f"{len(rest)} other columns", sum(n for _, n in rest)))
    footers = total - sum(scan.column_bytes.values())
    if shown and footers > 0:
        shown.append(("footers", footers))
    most = max((n for _, n in shown), default=0)
    columns = [
        dataclasses.replace(
            _bar(legible(name, 40), n, total, note=f"{n / residues:.2f}"),
            width=round(100 * n / max(1, most), 2),
        )
        for name, n in shown
    ]
    listed = numbers.build["shards"]
    shards = [
        {
            "name": legible(s["name"], 60),
            "chains": s.get("chains", 0),
            "residues": n_residues,
            "bytes": n_bytes,
            "per_residue": f"{n_bytes / n_residues:.1f}" if n_residues else "–",
            "sha256": legible(s.get("sha256", ""))[:12],
        }
        for s, n_bytes, n_residues in zip(
            listed[:MOST_SHARDS], scan.shard_bytes, scan.shard_residues, strict=False
        )
    ]
    return {
        "column_bars": columns,
        "shards": shards,
        "n_more_shards": max(0, len(listed) - MOST_SHARDS),
        "shard_figures": _shard_figures(numbers, scan),
        "n_row_groups": scan.n_row_groups,
    }


def _shard_figures(numbers: Numbers, scan: Scan) -> list[Figure]:
    n = len(scan.shard_bytes)
    if n < 2:
        return []
    rates = [b / r for b, r in zip(scan.shard_bytes, scan.shard_residues, strict=True) if r]
    spread = ""
    if rates:
        spread = f", {min(rates):.1f} to {max(rates):.1f} bytes per residue"
    caption = (
        f"{several(n, 'shard')} of {size(min(scan.shard_bytes))} to "
        f"{size(max(scan.shard_bytes))}{spread}."
    )
    sizes = [b / MEBIBYTE for b in scan.shard_bytes]
    return [
        Figure(
            "Shard sizes",
            histogram_chart(
                histogram(sizes, most_bins=24),
                "Histogram of shard sizes",
                "size / MiB",
                "shards",
                " MiB",
            ),
            caption,
        )
    ]


# ---- how it was made --------------------------------------------------------------------------


def _making(numbers: Numbers) -> dict[str, Any]:
    build = numbers.build
    rows = []
    for key, value in build["config"].items():
        if isinstance(value, dict):
            rows += [(k, v) for k, v in value.items() if v is not None]
        elif value is not None:
            rows.append((key, value))
    options = [
        (legible(k, 60), legible(v if isinstance(v, str) else json.dumps(v), 200)) for k, v in rows
    ]
    software = [(legible(k, 40), legible(v, 60)) for k, v in (build.get("software") or {}).items()]
    return {"options": options[:80], "software": software[:40], "can_repeat": numbers.has_options}
