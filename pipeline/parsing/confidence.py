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
from numpy.typing import NDArray

from pipeline.chain import Chain
from pipeline.entry_ids import UNIPROT, is_alphafold_db_id
from pipeline.parsing.atom_table import ABSENT, AtomTable
from pipeline.parsing.entry_info import EntryInfo
from pipeline.parsing.fields import changes, is_name
from pipeline.parsing.runs import is_hydrogen

BFactorIs = Literal["auto", "plddt"]

TYPICAL_PLDDT = 50.0
"""Half of the residues of what looks like pLDDT are above this. So are those of 95 in 100 predicted
models, and of 3 in 100 crystal structures."""

LEAST_PLDDT = 20.0
"""Half of the residues of any prediction are above this. Errors in Å, which predictions had in this
column before, are below."""

FALLING_SHARE = 0.75
"""In so many residues of a prediction with a pLDDT for each atom the side chain has less than the
backbone. B-factors rise outwards: in no crystal structure do they fall in so many."""

_CA = np.uint16(1 << 1)
_PLDDT = re.compile(r"\bp-?lddt\b|\bpredicted[ -]l?ddt\b", re.IGNORECASE)
# "Predicted" alone proves nothing: many proteins have it in their names.
_PREDICTION = re.compile(
    r"\bpredictions?\b"
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


def with_statements(info: EntryInfo, texts: Iterable[str | None], is_handed_in: bool) -> EntryInfo:
    """What the texts of a file say: that it has pLDDT, or that the structure is a prediction.

    Parameters
    ----------
    is_handed_in : bool
        The file has the form in which predictions are handed in to CASP.
    """
    said = [text for text in texts if text is not None]
    if any(_PLDDT.search(text) for text in said):
        return replace(info, metadata=replace(info.metadata, confidence_kind="plddt"))
    is_prediction = is_handed_in or any(_PREDICTION.search(text) for text in said)
    return replace(info, says_prediction=is_prediction)


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
    told |= b_factor_is == "plddt" and not info.is_measured
    claimed = told or info.says_prediction
    if not kept or not (claimed or info.may_look_predicted):
        return kept, []
    values = np.concatenate([c.b_factor[(c.atom14_mask & _CA) != 0] for c in kept])
    least, most = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    # Programs that have nothing to write there write 0.00 or 1.00.
    is_filled = least >= 0 and 0 < most <= 100 and not (least == most == 1)
    is_share = most <= 1
    typical = float(np.median(values)) * (100 if is_share else 1) if is_filled else 0.0
    is_varied = is_filled and least < most and typical >= TYPICAL_PLDDT
    if not claimed and not (is_varied and (_is_of_residues(info) or _falls_outwards(info))):
        return kept, []
    if not claimed:
        return kept, ["looks_like_plddt"]
    # A model may have any values in this column, one that says that they are pLDDT may not.
    is_likely = typical >= TYPICAL_PLDDT or (typical >= LEAST_PLDDT and _is_of_residues(info))
    if not is_filled or not (told or is_likely):
        return _with_kind(kept, None), ["no_confidence"]
    if is_share:
        return _with_kind(_in_percent(kept), "plddt"), ["confidence_rescaled"]
    return _with_kind(kept, "plddt"), []


def _is_of_residues(info: EntryInfo) -> bool:
    """Whether the atoms of a residue share one B-factor, in 19 of 20 neighbouring pairs."""
    if info.read_every_b_factor is None:
        return False
    atoms = info.read_every_b_factor()
    same_residue = np.diff(_residues(atoms)) == 0
    same_residue &= ~atoms.hetero[1:]
    same_value = (atoms.b_factor[1:] == atoms.b_factor[:-1])[same_residue]
    return bool(len(same_value)) and float(same_value.mean()) >= 0.95


def _falls_outwards(info: EntryInfo) -> bool:
    """Whether side chains have lower values than N, CA and C, in `FALLING_SHARE` of residues."""
    if info.read_every_b_factor is None:
        return False
    atoms = info.read_every_b_factor()
    residue = _residues(atoms)
    is_inner = np.logical_or.reduce([is_name(atoms.name, name) for name in (b"N", b"CA", b"C")])
    is_outer = ~is_inner & ~is_hydrogen(atoms)
    is_outer &= ~(is_name(atoms.name, b"O") | is_name(atoms.name, b"OXT"))
    has_alpha = np.bincount(residue, is_name(atoms.name, b"CA")) > 0
    means = []
    for chosen in (is_inner, is_outer):
        number = np.bincount(residue[chosen], minlength=len(has_alpha))
        total = np.bincount(residue[chosen], atoms.b_factor[chosen], len(has_alpha))
        means.append(total / np.maximum(number, 1))
        has_alpha &= number > 0
    inner, outer = (mean[has_alpha] for mean in means)
    return bool(len(inner)) and float((outer < inner).mean()) >= FALLING_SHARE


def _residues(atoms: AtomTable) -> NDArray[np.int64]:
    """A number for each atom that is that of its residue: of neighbours with one number."""
    number = atoms.auth_seq_id if (atoms.label_seq_id == ABSENT).all() else atoms.label_seq_id
    heads = np.zeros(len(atoms), np.int64)
    heads[changes(number, atoms.label_asym_id)[1:]] = 1
    return np.cumsum(heads)


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
