"""How good the chains are: distributions, and the Ramachandran plots."""

from __future__ import annotations

from typing import Any

from pipeline.commands.words import several
from pipeline.report.charts import histogram_chart
from pipeline.report.gather import Chains
from pipeline.report.ramachandran import in_regions, ramachandran_plot
from pipeline.report.scan_shards import Scan
from pipeline.report.sections.elements import Figure, above, middle
from pipeline.report.wording import count, share
from pipeline.residues.ramachandran import KINDS

_UNSAID = " {} {} none."


def measure_figures(chains: Chains) -> list[Figure]:
    """A histogram of each column that is known of some chain."""
    figures = []
    for measure, shown in chains.quality:
        things = "entries" if measure.of_entry else "chains"
        caption = f"{middle(shown, '')}.{above(shown, '', things)}"
        if shown.n_missing:
            one = "entry" if measure.of_entry else "chain"
            verb = "has" if shown.n_missing == 1 else "have"
            caption += _UNSAID.format(several(shown.n_missing, one, things), verb)
        figures.append(
            Figure(
                measure.title,
                histogram_chart(
                    shown,
                    f"Histogram: {measure.title}",
                    measure.axis,
                    things,
                    percent=measure.is_share and shown.step >= 0.01,
                ),
                f"{caption} Column {measure.column}.",
            )
        )
    return figures


def ramachandran(scan: Scan) -> dict[str, Any]:
    """The plots of general residues, glycine and proline."""
    figures = []
    for kind, name in enumerate(KINDS):
        n = int(scan.ramachandran[kind].sum())
        if n:
            outliers, allowed, favoured = in_regions(scan.ramachandran, kind)
            figures.append(
                Figure(
                    name.capitalize(),
                    ramachandran_plot(scan.ramachandran, kind, f"φ and ψ: {name}"),
                    f"{several(n, 'residue')}: {share(favoured, n)} favoured, {share(allowed, n)} "
                    f"allowed, {count(outliers)} ({share(outliers, n)}) outliers.",
                )
            )
    return {"ramachandran_figures": figures, "ramachandran_is_sample": scan.is_sample}
