"""Whether a sample looks like a protein at all, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.metrics.backbones import CA_STEP, expected_radius_of_gyration
from model.tasks import Problem

MAX_DEVIATION = 0.5
"""Å; mean deviation of neighbouring CA from 3.8 Å. Of experimental chains it is below 0.1 Å."""

MAX_BUMPS = 0.1
"""Pairs of other CA nearer than 3.6 Å, for each residue."""

MAX_CLASHES = 0.5
"""Pairs of atoms that clash at 90 % of their radii, for each residue."""

RADII = (0.75, 2.5)
"""Radius of gyration over that of a globular chain. Extended chains with helices or strands are
proteins, too."""

MIN_LENGTH = 40
"""Residues from which on the radius says something."""

MAX_COIL = 0.8


def verdict(problem: Problem, measures: Mapping[str, Any]) -> str:
    """What is wrong with a sample, or nothing.

    A backbone that was given is not judged.

    Parameters
    ----------
    problem : Problem
    measures : mapping
        Of the sample, as `model.tasks.numbers_alone` has them.
    """
    n = max(1, len(problem))
    wrong = []
    if not problem.held_frames.all():
        wrong += _of_backbone(measures, n)
    if (pairs := measures["clashes_90"]) > MAX_CLASHES * n:
        wrong.append(f"{pairs:,} pairs of atoms clash")
    if not wrong:
        return ""
    judged = "side chains that clash" if problem.held_frames.all() else "no protein"
    return f"{judged}: {'; '.join(wrong)}"


def _of_backbone(measures: Mapping[str, Any], n: int) -> list[str]:
    wrong = []
    if (deviation := measures["step_deviation"]) > MAX_DEVIATION:
        wrong.append(f"neighbouring CA are {deviation:.1f} Å off the {CA_STEP} Å of proteins")
    if (bumps := measures["n_bumps"]) > MAX_BUMPS * n:
        wrong.append(f"{bumps:,} pairs of other CA are nearer than 3.6 Å")
    relative, (least, most) = measures["relative_radius"], RADII
    is_tight, is_wide = relative < least, relative > most and measures["coil"] > MAX_COIL
    if n >= MIN_LENGTH and (is_tight or is_wide):
        wrong.append(
            f"its radius of gyration is {measures['radius_of_gyration']:.0f} Å, of a globular "
            f"chain of {n} residues {expected_radius_of_gyration(n):.0f} Å"
        )
    return wrong
