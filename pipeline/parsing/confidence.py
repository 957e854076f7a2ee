"""Whether a file's B-factors are confidences (pLDDT), and on which scale.

What a file says of itself decides. Values alone never do: they only earn a flag, because crystal
structures whose headers were stripped have B-factors in the same range.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from pipeline.chain import Chain
from pipeline.entry_ids import UNIPROT, is_alphafold_db_id
from pipeline.parsing.atom_table import ABSENT, AtomTable
from pipeline.parsing.entry_info import EntryInfo

BFactorIs = Literal["auto", "plddt"]

TYPICAL_PLDDT = 50.0
"""Half of the residues of what looks like pLDDT are above this. So are those of 95 in 100 predicted
models, and of 3 in 100 crystal structures."""

_CA = np.uint16(1 << 1)
# "Predicted" alone proves nothing: many proteins have it in their names.
_PREDICTION = re.compile(
    r"\bp-?lddt\b|\bpredicted[ -]l?ddt\b|\bpredictions?\b"
    r"|\bpredicted (?:by|with|using|from|models?|structures?|folds?)\b"
    r"|\b(?:models?|structures?|folds?) predicted\b",
    re.IGNORECASE,
)
# AlphaFold DB's titles, without blanks, which a line's end may have put into the accession.
_ALPHAFOLD_DB_TITLE = re.compile(
    rf"ALPHAFOLD[A-Z]*V[0-9]+\.[0-9]+PREDICTIONFOR(?:.*\()?{UNIPROT}\)?", re.ASCII | re.DOTALL
)


def is_alphafold_db_title(title: str) -> bool:
    """Whether a title has the form of AlphaFold DB's own: that of its PDB files, or the name of a
    file, which is all that Foldcomp keeps."""
    return _ALPHAFOLD_DB_TITLE.fullmatch(
        "".join(title.upper().split())
    ) is not None or is_alphafold_db_id(title.partition(".")[0])


def is_experimental(method: str | None) -> bool:
    """Whether a method (``EXPDTA``, ``_exptl.method``) is an experiment, not a calculation."""
    return method is not None and any(
        name.strip() and "MODEL" not in name and "PREDICT" not in name
        for name in method.upper().split(";")
    )


def states_prediction(texts: Iterable[str | None]) -> bool:
    """Whether one of the texts says that the structure is a prediction, or has pLDDT."""
    return any(text is not None and _PREDICTION.search(text) for text in texts)


def settle_confidence(
    chains: Sequence[Chain], info: EntryInfo, b_factor_is: BFactorIs
) -> tuple[list[Chain], list[str]]:
    """Decide what the B-factors of a file are; pLDDT is on a scale of 0 to 100 from then on.

    The whole file is judged, not each chain: one program wrote it on one scale, and a short chain
    of low confidence must not be blown up a hundred times.

    Parameters
    ----------
    chains : sequence of Chain
        All of the file; ``metadata.confidence_kind`` as its header says.
    info : EntryInfo
    b_factor_is : {"auto", "plddt"}
        What the user knows: ``plddt`` of every file that does not name an experiment.

    Returns
    -------
    (chains, flags)
        Chains with their final ``confidence_kind`` and ``b_factor``; the remarks
        ``confidence_rescaled``, ``no_confidence`` and ``looks_like_plddt``.
    """
    kept = list(chains)
    told = info.metadata.confidence_kind == "plddt"
    claimed = told or (b_factor_is == "plddt" and not info.is_measured)
    if not kept or not (claimed or info.may_look_predicted):
        return kept, []
    values = np.concatenate([c.b_factor[(c.atom14_mask & _CA) != 0] for c in kept])
    least, most = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    # Programs that have nothing to write there write 0.00 or 1.00.
    is_filled = least >= 0 and 0 < most <= 100 and not (least == most == 1)
    is_share = most <= 1
    if claimed and not is_filled:
        return _with_kind(kept, None), ["no_confidence"]
    if claimed and is_share:
        return _with_kind(_in_percent(kept), "plddt"), ["confidence_rescaled"]
    if claimed:
        return _with_kind(kept, "plddt"), []
    typical = TYPICAL_PLDDT / 100 if is_share else TYPICAL_PLDDT
    if (
        is_filled
        and least < most
        and np.count_nonzero(values >= typical) * 2 >= len(values)
        and info.read_every_b_factor is not None
        and _is_of_residues(info.read_every_b_factor())
    ):
        return kept, ["looks_like_plddt"]
    return kept, []


def _is_of_residues(atoms: AtomTable) -> bool:
    """Whether the atoms of a residue share one B-factor, in 19 of 20 neighbouring pairs."""
    number = atoms.auth_seq_id if (atoms.label_seq_id == ABSENT).all() else atoms.label_seq_id
    same_residue = (
        (number[1:] == number[:-1])
        & (atoms.label_asym_id[1:] == atoms.label_asym_id[:-1])
        & ~atoms.hetero[1:]
    )
    same_value = (atoms.b_factor[1:] == atoms.b_factor[:-1])[same_residue]
    return bool(len(same_value)) and float(same_value.mean()) >= 0.95


def _in_percent(chains: list[Chain]) -> list[Chain]:
    # Rounded, so that 0.87 is 87 and not 86.99999.
    return [
        replace(c, b_factor=np.round(c.b_factor.astype(float) * 100, 4).astype(np.float32))
        for c in chains
    ]


def _with_kind(chains: list[Chain], kind: str | None) -> list[Chain]:
    if all(c.metadata.confidence_kind == kind for c in chains):
        return chains
    metadata = {id(c.metadata): replace(c.metadata, confidence_kind=kind) for c in chains}
    return [replace(c, metadata=metadata[id(c.metadata)]) for c in chains]
