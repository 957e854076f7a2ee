"""Chains that are not like the others: index → which, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.report.quality import MEASURES, Measure, numbers_of

if TYPE_CHECKING:
    from pipeline.report.extremes import Extreme

MOST_NAMED = 8
"""Chains named for each reason, the most extreme ones."""

MOSTLY_X = 0.5
WIDE, COMPACT = 2.0, 0.8
LEAST_FOR_RADIUS = 20
MANY_BREAKS = 5
VERY_SHORT = 10

OUTLIER_COLUMNS = (
    *("chain_uid", "entry_id", "source", "length", "n_resolved", "n_breaks"),
    *("radius_of_gyration", "fraction_x", "confidence_kind", "mean_b_factor"),
)


def expected_radius(n_residues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radius of gyration of a compact globular protein, Å: 2.2 N^0.38.

    Skolnick, Kolinski and Ortiz 1997, J. Mol. Biol. 265, 217.
    """
    return 2.2 * np.asarray(n_residues, np.float64) ** 0.38


@dataclass(frozen=True)
class Outlier:
    """A chain, and what is odd about it in numbers."""

    chain_uid: str
    entry_id: str
    source: str | None
    length: int
    finding: str


@dataclass(frozen=True)
class Oddity:
    """Chains that are odd in one way.

    Attributes
    ----------
    name, rule : str
        What is odd; from which value on.
    n : int
        All of them.
    chains : tuple of Outlier
        The most extreme.
    keeps_others : str
        A condition for ``--where`` that all other chains fulfil; empty if there is none.
    """

    name: str
    rule: str
    n: int
    chains: tuple[Outlier, ...]
    keeps_others: str = ""


def zero_b_factors(index: pa.Table) -> NDArray[np.bool_]:
    """Rows whose B-factors are all zero: files write that where they have none."""
    is_zero = pc.and_(pc.equal(index["mean_b_factor"], 0), pc.is_null(index["confidence_kind"]))
    return pc.fill_null(is_zero, False).to_numpy()


def find_outliers(
    index: pa.Table, extremes: Sequence[Extreme], n_extreme: int
) -> tuple[Oddity, ...]:
    """All oddities that the dataset has, in a fixed order.

    Parameters
    ----------
    index : pyarrow.Table
        With `OUTLIER_COLUMNS`.
    extremes, n_extreme
        Of `ExtremeFinder`.
    """

    def numbers(name: str) -> NDArray[np.float64]:
        return index[name].cast(pa.float64()).to_numpy(zero_copy_only=False)

    length, resolved, radius = map(numbers, ("length", "n_resolved", "radius_of_gyration"))
    x, breaks = numbers("fraction_x"), numbers("n_breaks")
    expected = expected_radius(np.maximum(resolved, 1))
    ratio = radius / expected
    is_long_enough = resolved >= LEAST_FOR_RADIUS
    is_zero = zero_b_factors(index)

    def named_chains(
        which: NDArray[np.bool_], badness: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
        """The worst rows, and what is said of each chain."""
        rows = np.flatnonzero(which)
        places = rows[np.argsort(-badness[rows], kind="stable")][:MOST_NAMED]
        named = index.take(pa.array(places)).select(["chain_uid", "entry_id", "source", "length"])
        return places, named.to_pylist()

    def odd(
        name: str,
        rule: str,
        which: NDArray[np.bool_],
        badness: NDArray[np.float64],
        finding: str,
        keeps_others: str = "",
    ) -> Oddity:
        """`finding` may name x, breaks, radius, expected, ratio and length of a row."""
        places, named = named_chains(which, badness)
        chains = []
        for k, row in zip(places, named, strict=True):
            told = finding.format(
                x=100 * x[k],
                breaks=breaks[k],
                radius=radius[k],
                expected=expected[k],
                ratio=ratio[k],
                length=length[k],
            )
            chains.append(Outlier(**row, finding=told))
        return Oddity(name, rule, int(np.count_nonzero(which)), tuple(chains), keeps_others)

    share_x = f"fraction_x < {MOSTLY_X}"
    wide = "{radius:.1f} Å, {ratio:.2f} times the expected {expected:.1f} Å"
    with np.errstate(invalid="ignore"):
        found = [
            odd("all X", "no residue of a known type", x == 1, length, "100 % X", share_x),
            odd(
                "mostly X",
                f"at least {MOSTLY_X:.0%} X".replace("%", " %"),
                (x >= MOSTLY_X) & (x < 1),
                x * length,
                "{x:.0f} % X",
                share_x,
            ),
            odd(
                "wide",
                f"radius of gyration at least {WIDE:g} times what the length says",
                is_long_enough & (ratio >= WIDE),
                ratio,
                wide,
            ),
            odd(
                "compact",
                f"radius of gyration at most {COMPACT:g} times what the length says",
                is_long_enough & (ratio <= COMPACT),
                -ratio,
                wide,
            ),
            odd(
                "B-factors all zero",
                "the file has none",
                is_zero,
                length,
                "mean 0 Å²",
                "mean_b_factor != 0",
            ),
            odd(
                "many breaks",
                f"at least {MANY_BREAKS}",
                breaks >= MANY_BREAKS,
                breaks,
                "{breaks:.0f} breaks",
                f"n_breaks < {MANY_BREAKS}",
            ),
            odd(
                "very short",
                f"fewer than {VERY_SHORT} residues",
                length < VERY_SHORT,
                -length,
                "length {length:.0f}",
                f"length >= {VERY_SHORT}",
            ),
        ]
    for measure in MEASURES:
        values = numbers_of(index, measure.column)
        if measure.far is None or not np.isfinite(values).any():
            continue
        with np.errstate(invalid="ignore"):
            which = values >= measure.far
        limit = f"{100 * measure.far:.0f} %" if measure.is_share else f"{measure.far:g}"
        column = measure.column
        places, chains = named_chains(which, values)
        told = [_told(measure, float(values[k])) for k in places]
        found.append(
            Oddity(
                measure.title,
                f"at least {limit}: {measure.axis}",
                int(np.count_nonzero(which)),
                tuple(Outlier(**row, finding=t) for row, t in zip(chains, told, strict=True)),
                f"{column} < {measure.far:g} or {column} is null",
            )
        )
    found.append(_extreme_ellipsoids(index, extremes, n_extreme))
    return tuple(oddity for oddity in found if oddity.n)


def _told(measure: Measure, value: float) -> str:
    return f"{100 * value:.1f} %" if measure.is_share else f"{value:.3g}"


def _extreme_ellipsoids(index: pa.Table, extremes: Sequence[Extreme], n_extreme: int) -> Oddity:
    if not extremes:
        return Oddity("extreme ellipsoid", "", 0, ())
    uids = pa.array([e.chain_uid for e in extremes], pa.string())
    places = pc.index_in(uids, value_set=index["chain_uid"].combine_chunks())
    rows = index.select(["chain_uid", "entry_id", "source", "length"]).take(places).to_pylist()
    chains = tuple(
        Outlier(**row, finding=f"{e.residue}: longest semi-axis {e.semi_axis:.1f} Å")
        for e, row in zip(extremes, rows, strict=True)
    )
    return Oddity(
        "extreme ellipsoid",
        "atoms farther from their centre than those of a stretched arginine",
        n_extreme,
        chains,
    )
