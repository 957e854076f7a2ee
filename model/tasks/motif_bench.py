"""The layout in which MotifBench scores scaffolds: their names, and ``scaffold_info.csv``.

Z. Zheng, B. Zhang et al., "MotifBench: a standardized protein design benchmark for
motif-scaffolding problems" (2025), arXiv 2502.12479. The layout is that of the readme of
github.com/blt2114/MotifBench: ``CASE_0.pdb``, ``CASE_1.pdb``, … of one chain each, residues
numbered from 1, and a table with the columns ``sample_num`` and ``motif_placements``, such as
``12/B/15/A/29``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from model.tasks.contigs import Contigs, draw_contigs, parse_contigs
from model.tasks.inputs import InputStructure
from model.tasks.request import Request
from model.tasks.residue_ranges import ResidueRange, find_rows
from pipeline.errors import UsageError

SCAFFOLD_INFO = "scaffold_info.csv"

_CASE = re.compile(r"[^_]+(_[^_]+)?")


def check_case(contigs: Contigs, structure: InputStructure) -> None:
    """See that MotifBench can tell where the motif is: every chain of the input is a segment of it.

    Raises
    ------
    UsageError
    """
    if not _CASE.fullmatch(structure.name):
        raise UsageError(
            f"--motifbench: samples are called like the input, and MotifBench reads names such as "
            f"01_1LDB; rename {structure.name}"
        )
    if len(contigs) > 1:
        raise UsageError(
            f"--motifbench: a scaffold is one chain, and --contigs has {len(contigs)}; leave out /0"
        )
    lengths = [len(chain) for chain in structure.chains]
    seen = []
    for segment in contigs[0]:
        if not isinstance(segment, ResidueRange):
            continue
        chain = structure.find_chain(segment.chain)
        assert chain is not None
        ident = structure.chain_ids[chain]
        if ident != segment.chain:
            raise UsageError(
                f"--motifbench: {segment.chain} is the label_asym_id of chain {ident}, and "
                f"MotifBench knows the author's ids; write {replace(segment, chain=ident)}"
            )
        n = len(find_rows(segment, structure))
        if n != lengths[chain]:
            raise UsageError(
                f"--motifbench: a segment of the motif is a whole chain of the input, and "
                f"{str(segment)!r} has {n} of the {lengths[chain]} residues of chain {ident}"
            )
        seen.append(ident)
    for ident in structure.chain_ids:
        if not re.fullmatch("[A-Z]", ident):
            raise UsageError(
                f"--motifbench: chains of the input are called A, B, C …, found {ident!r}"
            )
        if ident not in seen:
            raise UsageError(
                f"--motifbench: chain {ident} of {structure.name} is part of the motif, and "
                "--contigs does not keep it"
            )


def check_files(format: str, trajectory: bool) -> None:
    """See that the files are scaffolds, and that MotifBench can read them.

    Raises
    ------
    UsageError
    """
    advice = ["give --format pdb"] if format != "pdb" else []
    advice += ["leave out --trajectory"] if trajectory else []
    if advice:
        raise UsageError(
            "--motifbench: MotifBench takes every PDB file of the folder for a scaffold; "
            + " and ".join(advice)
        )


def placements(request: Request, name: str) -> str:
    """``motif_placements`` of a sample: numbers of new residues, and chains of the motif.

    Parameters
    ----------
    request : Request
        With contigs.
    name : str
        Of the sample, which the numbers of new residues are a function of.
    """
    assert request.contigs is not None
    (segments,) = draw_contigs(parse_contigs(request.contigs), request.seed, name)
    parts: list[str | int] = []
    for segment in segments:
        if isinstance(segment, ResidueRange):
            parts.append(segment.chain)
        elif parts and isinstance(parts[-1], int):
            parts[-1] += segment.least
        else:
            parts.append(segment.least)
    return "/".join(str(part) for part in parts if part != 0)


def scaffold_rows(request: Request, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of ``scaffold_info.csv``, of samples that are called ``CASE_0``, ``CASE_1``, …"""
    numbers = [int(name.rpartition("_")[2]) for name in names]
    return [
        {"sample_num": number, "motif_placements": placements(request, name)}
        for number, name in sorted(zip(numbers, names, strict=True))
    ]
