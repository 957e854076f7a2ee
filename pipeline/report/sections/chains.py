"""What is in the dataset: lengths, experiments, composition, structure, quality."""

from __future__ import annotations

from typing import Any

from pipeline.commands.words import several
from pipeline.report.charts import (
    column_chart,
    composition_chart,
    fraction_map,
    gyration_map,
    histogram_chart,
    missing_map,
    year_chart,
)
from pipeline.report.gather import Chains, Confidence
from pipeline.report.outliers import COMPACT, WIDE
from pipeline.report.reference_composition import SWISS_PROT_PERCENT, SWISS_PROT_RELEASE
from pipeline.report.scan_shards import Scan
from pipeline.report.sections.elements import MOST_ROWS, Figure, above, bar, class_columns, middle
from pipeline.report.wording import count, legible, share
from pipeline.residues import ONE_LETTER, RESTYPES


def length_figures(chains: Chains) -> list[Figure]:
    """Lengths, and chains of an entry; none without chains."""
    if not chains.n:
        return []
    return [
        Figure(
            "Chain length",
            histogram_chart(
                chains.length, "Histogram of chain lengths", "residues", "chains", " residues"
            ),
            f"{middle(chains.length, '')} residues. Unresolved residues inside a chain count, "
            f"unresolved ends do not.{above(chains.length, ' residues', 'chains')}",
        ),
        Figure(
            "Chains of an entry",
            column_chart(
                class_columns(chains.chains_per_entry),
                "Entries by number of chains",
                "chains in this dataset",
                "entries",
            ),
            f"{several(chains.n_entries, 'entry', 'entries')} with "
            f"{chains.n / chains.n_entries:.1f} chains on average.",
        ),
    ]


def experiments(chains: Chains) -> dict[str, Any]:
    """Methods, resolution, years and archives."""
    n = chains.n_entries
    bars = [
        bar(legible(name, 80) if name else "not said (predicted models)", k, n)
        for name, k in chains.methods[:MOST_ROWS]
    ]
    rest = chains.methods[MOST_ROWS:]
    if rest:
        bars.append(bar(f"{count(len(rest))} others", sum(k for _, k in rest), n))
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
                f"{middle(chains.resolution, ' Å')}."
                f"{above(chains.resolution, ' Å', 'entries')}"
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


def composition(scan: Scan) -> Figure | None:
    """Residue types beside those of Swiss-Prot; none without chains."""
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


def structure(chains: Chains) -> dict[str, Any]:
    """Secondary structure and radius of gyration."""
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
            f"{middle(chains.radius_of_gyration, ' Å')}, of the CA of resolved residues."
            f"{above(chains.radius_of_gyration, ' Å', 'chains')}",
        ),
        Figure(
            "Radius of gyration by length",
            gyration_map(chains.gyration, "Chains by resolved residues and radius of gyration"),
            "Both axes are logarithmic. The line is what the length of a compact globular protein "
            "says, 2.2 N^0.38 Å (Skolnick, Kolinski and Ortiz 1997, J. Mol. Biol. 265, 217); "
            f"chains beyond the dashed ones, {COMPACT:g} and {WIDE:g} times that, are listed "
            "under Outliers.",
        ),
    ]
    return {"sse": sse, "structure_figures": figures}


def quality_figures(chains: Chains, scan: Scan) -> list[Figure]:
    """Completeness, and B-factors or what stands in their place."""
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
        *missing_figures(scan),
    ]


def missing_figures(scan: Scan) -> list[Figure]:
    """Where coordinates are missing; none where no file gives whole sequences."""
    missing = scan.missing
    n, n_missing = int(missing.residues.sum()), int(missing.missing.sum())
    if not n:
        return []
    caption = (
        "Residues without N, CA and C, along the whole sequences from the first residue to the "
        f"last, unresolved ends included: {count(n_missing)} of {count(n)} "
        f"({share(n_missing, n)}) in {several(int(missing.chains.sum()), 'chain')}. The stronger "
        "the colour, the more are missing."
    )
    if scan.is_sample:
        caption += " Of a sample of the chains."
    if missing.n_without:
        caption += f" {several(missing.n_without, 'chain')} without a whole sequence not counted."
    return [
        Figure(
            "Missing residues along the sequence",
            missing_map(missing, "Shares of missing residues by length and position"),
            caption,
        )
    ]


def _confidence_figure(confidence: Confidence) -> Figure:
    n_chains = confidence.chains - confidence.n_zero
    n = several(n_chains, "chain")
    if not confidence.n_zero:
        n += f" with {several(confidence.residues, 'residue')}"
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
            f"{middle(confidence.means, '')}, in {n}. Colours are the bands of AlphaFold DB: very "
            "high (over 90), confident (over 70), low (over 50), very low.",
        )
    title = "B-factor" if confidence.kind is None else f"Confidence: {legible(confidence.kind, 40)}"
    unit = " Å²" if confidence.kind is None else ""
    zero = ""
    if confidence.n_zero:
        zero = (
            f" {several(confidence.n_zero, 'chain')} whose B-factors are all zero "
            f"{'is' if confidence.n_zero == 1 else 'are'} left out; see Outliers."
        )
    return Figure(
        title,
        histogram_chart(
            confidence.means,
            f"Histogram of mean values: {title}",
            "mean B-factor of a chain / Å²" if confidence.kind is None else "mean of a chain",
            "chains",
            unit,
        ),
        f"{middle(confidence.means, unit)}, in {n}.{above(confidence.means, unit, 'chains')}{zero}",
    )


def _plddt_band(value: float) -> str:
    bands = ((90, "very-high"), (70, "confident"), (50, "low"))
    return "bar plddt " + next((name for least, name in bands if value >= least), "very-low")
