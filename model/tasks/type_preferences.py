"""What people want of designed types: ``--omit``, ``--bias`` and ``--tied``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.tasks.inputs import InputError, InputStructure
from model.tasks.residue_ranges import ResidueRange, find_rows, parse_ranges
from pipeline.errors import UsageError
from pipeline.residues import AATYPE_OF_LETTER, N_TYPES, ONE_LETTER, RESTYPES

EVERY = "*"
"""Names all residues in a file of biases."""

CHAINS = "chains"
"""What ``--tied`` has for a homo-oligomer."""

COLUMNS = ("residues", "type", "bias")
"""Of a CSV of biases."""

Bias: TypeAlias = tuple[str, int, float]
"""Residues as they were written, a type, and what is added to its logit."""

_EXPECTED = (
    'as JSON, {"A12": {"G": -0.3, "C": "-inf"}, "A20-30": {"L": 1.5}, "*": {"M": -1}}, or as CSV, '
    "lines of residues,type,bias under that head"
)


def parse_omit(text: str) -> list[int]:
    """Types that are left out everywhere, of letters such as ``CM``.

    Raises
    ------
    UsageError
    """
    for word in text.upper().replace(",", " ").split():
        if word in RESTYPES:
            letter = ONE_LETTER[RESTYPES.index(word)]
            raise UsageError(
                f"--omit: {word} is the name of a residue; write {letter}, or {','.join(word)} for "
                "three types"
            )
    letters = [letter for letter in text.upper() if letter not in ", "]
    for letter in letters:
        if letter not in ONE_LETTER[:N_TYPES]:
            raise UsageError(f"--omit: {letter!r} is none of the twenty types; write CM, say")
    types = sorted({AATYPE_OF_LETTER[letter] for letter in letters})
    if not types or len(types) == N_TYPES:
        raise UsageError(f"--omit {text!r} leaves {'no type' if types else 'nothing'} out")
    return types


def read_biases(path: Path) -> list[Bias]:
    """Biases of a file: JSON in LigandMPNN's manner, or a CSV.

    Raises
    ------
    UsageError
        Names the file, and what of it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--bias {path} cannot be read: {reason}") from error
    rows = _of_json(text, path) if text.lstrip().startswith("{") else _of_csv(text, path)
    found = []
    for residues, letter, value in rows:
        where = f"--bias {path}: {residues}"
        if letter.upper() not in ONE_LETTER[:N_TYPES] or len(letter) != 1:
            raise UsageError(f"{where}: {letter!r} is none of the twenty types in one letter")
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = float("nan")
        if np.isnan(number) or isinstance(value, bool):
            raise UsageError(f"{where}: the bias of {letter} is {value!r}, which is no number")
        found.append((residues, AATYPE_OF_LETTER[letter.upper()], number))
    if not found:
        raise UsageError(f"--bias {path} holds no bias; write them {_EXPECTED}")
    return found


def _of_json(text: str, path: Path) -> Iterator[tuple[str, str, object]]:
    try:
        # Pairs, for a residue may be named twice: its biases add up.
        table = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise UsageError(f"--bias {path} is no JSON: {error}; write it {_EXPECTED}") from error
    for residues, biases in table:
        if not (isinstance(biases, list) and all(isinstance(b, tuple) for b in biases)):
            raise UsageError(f"--bias {path}: {residues} has {biases!r}; write it {_EXPECTED}")
        for letter, value in biases:
            yield residues, letter, value


def _of_csv(text: str, path: Path) -> Iterator[tuple[str, str, object]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise UsageError(f"--bias {path} begins with {reader.fieldnames}; write it {_EXPECTED}")
    for row in reader:
        yield tuple(str(row[name] or "").strip() for name in COLUMNS)  # type: ignore[misc]


def bias_of(
    omit: str | None, path: Path | None, structure: InputStructure
) -> NDArray[np.float64] | None:
    """(L, 20) what is added to the logits of an input's residues; −∞ and no +∞; None for nothing.

    What is given several times for a residue adds up. Of a residue that has +∞ somewhere, all other
    types are left out.

    Raises
    ------
    UsageError
        Nothing is left of a residue, or the input has no such residue.
    """
    if omit is None and path is None:
        return None
    n = len(structure.structure)
    bias = np.zeros((n, N_TYPES))
    if omit is not None:
        bias[:, parse_omit(omit)] = -np.inf
    with np.errstate(invalid="ignore"):
        for residues, kind, number in read_biases(path) if path is not None else ():
            bias[_rows_of(residues, path, structure), kind] += number
    wrong = np.asarray(np.isnan(bias).any(1))
    chosen = np.isposinf(bias)
    bias = np.where(chosen, 0.0, np.where(chosen.any(1, keepdims=True), -np.inf, bias))
    wrong |= np.isneginf(bias).all(1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"no type is left for {structure.describe(row)} of {structure.name} by --omit and "
            "--bias, or one type is both left out and wanted above all"
        )
    return bias


def rows_of_biases(path: Path | None, structure: InputStructure) -> NDArray[np.bool_]:
    """(L,) Residues that a file of biases names, other than by `EVERY`.

    Raises
    ------
    UsageError
    """
    named = np.zeros(len(structure.structure), bool)
    for residues, _, _ in read_biases(path) if path is not None else ():
        if residues != EVERY:
            named[_rows_of(residues, path, structure)] = True
    return named


def _rows_of(text: str, path: Path | None, structure: InputStructure) -> NDArray[np.int64]:
    if text == EVERY:
        return np.arange(len(structure.structure))
    return np.concatenate(
        [find_rows(residues, structure) for residues in parse_ranges(text, f"--bias {path}")]
    )


def parse_tied(text: str) -> list[list[ResidueRange]]:
    """Groups of ranges whose residues are tied, one by one; none for ``chains``.

    Raises
    ------
    UsageError
    """
    if text == CHAINS:
        return []
    return [parse_ranges(group, "--tied") for group in text.split("|")]


def ties_of(text: str | None, structure: InputStructure) -> NDArray[np.int64] | None:
    """(L,) The row of the first residue that each is tied to, or its own; None for no ties.

    Raises
    ------
    UsageError
        Ranges of one group differ in size, the input has not what is named, or ``chains`` would tie
        different proteins.
    """
    if text is None:
        return None
    n = len(structure.structure)
    ties = np.arange(n)
    if text == CHAINS:
        return _ties_of_chains(structure)
    for group in parse_tied(text):
        rows = [find_rows(residues, structure) for residues in group]
        if len(rows) > 1 and all(residues.is_whole for residues in group):
            index = structure.structure.chain_index
            chains = [int(index[r[0]]) for r in rows]
            pairs = [pair for pair in _of_one_number(chains, structure) if len(pair) > 1]
            if not pairs or len({*chains}) < len(chains):
                raise UsageError(
                    f"--tied: {structure.name}: {', '.join(map(str, group))} are no different "
                    "chains with residues of one number; write which are tied, such as "
                    "A1-50,B101-150"
                )
            ties = _joined(ties, pairs)
            continue
        if len({len(r) for r in rows}) != 1 or len(rows) < 2:
            sizes = " and ".join(
                f"{residues} has {len(r)}" for residues, r in zip(group, rows, strict=True)
            )
            raise UsageError(
                f"--tied: {structure.name}: {sizes} residues; what is tied is two or more of one "
                "size, such as A1-50,B1-50, and groups are separated by |"
            )
        together = np.stack(rows, 1)
        for row in together[(np.diff(np.sort(together, 1), axis=1) == 0).any(1)][:1]:
            raise UsageError(
                f"--tied: {structure.name}: {', '.join(map(str, group))} ties "
                f"{structure.describe(row[0])} to itself; name different residues"
            )
        ties = _joined(ties, together.tolist())
    return ties


def _joined(ties: NDArray[np.int64], groups: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    ties = ties.copy()
    for together in groups:
        # A residue may be tied to others already: then all of them are.
        those = np.isin(ties, ties[list(together)])
        ties[those] = ties[those].min()
    return ties


def _ties_of_chains(structure: InputStructure) -> NDArray[np.int64]:
    """Residues of one number and insertion code are tied, over all chains.

    Raises
    ------
    UsageError
        No two chains have a number in common, or two that have are not one protein.
    """
    aatype, chain = structure.structure.aatype, structure.structure.chain_index
    ties, n = np.arange(len(chain)), len(structure.chains)
    known, agree = np.zeros((2, n, n), np.int64)
    for alike in _of_one_number(range(n), structure):
        ties[alike] = alike[0]
        for a, b in combinations(alike, 2):
            if max(aatype[a], aatype[b]) < N_TYPES:
                known[chain[a], chain[b]] += 1
                agree[chain[a], chain[b]] += aatype[a] == aatype[b]
    if (chain == chain[ties]).all():
        raise UsageError(
            f"--tied {CHAINS}: no two chains of {structure.name} have residues of one number; "
            "write which are tied, such as A1-50,B101-150"
        )
    different = np.argwhere(2 * agree < known)
    if len(different):
        a, b = different[0].tolist()
        one, other = structure.chain_ids[a], structure.chain_ids[b]
        raise UsageError(
            f"--tied {CHAINS}: {one} and {other} of {structure.name} are not one protein: of the "
            f"{known[a, b]} numbers that both have, residues are of one type at {agree[a, b]}; "
            f"{_advice((known > 0) & (2 * agree >= known), structure)}"
        )
    return ties


def _of_one_number(chains: Sequence[int], structure: InputStructure) -> list[list[int]]:
    """Rows of these chains, those of one number and insertion code together."""
    rows: dict[str, list[int]] = {}
    within = np.isin(structure.structure.chain_index, chains) & structure.numbered
    for row in np.flatnonzero(within).tolist():
        rows.setdefault(structure.number(row), []).append(row)
    return list(rows.values())


def _advice(same: NDArray[np.bool_], structure: InputStructure) -> str:
    """What to write, of (C, C) chains that are one protein."""
    groups: list[list[int]] = []
    for k in range(len(same)):
        group = next((g for g in groups if all(same[other, k] for other in g)), None)
        if group is None:
            groups.append([k])
        else:
            group.append(k)
    ids = [str(ResidueRange(ident)) for ident in structure.chain_ids]
    alike = [",".join(ids[k] for k in group) for group in groups if len(group) > 1]
    if alike:
        return f"name the chains that are: --tied {'|'.join(alike)!r}"
    return "leave --tied out, or name what is tied, such as A1-5,B1-5"


def check_ties(
    ties: NDArray[np.int64], bias: NDArray[np.float64] | None, structure: InputStructure
) -> None:
    """See that tied residues have a type that none of them leaves out.

    Raises
    ------
    UsageError
    """
    if bias is None:
        return
    possible = np.ones((len(ties), N_TYPES), bool)
    np.logical_and.at(possible, ties, np.isfinite(bias))
    if not possible[ties].any(1).all():
        row = int(np.flatnonzero(~possible[ties].any(1))[0])
        raise UsageError(
            f"no type is left by --bias for {structure.describe(row)} of {structure.name} and what "
            "it is tied to"
        )


def typed_together(
    ties: NDArray[np.int64],
    aatype: NDArray[np.int64],
    typed: NDArray[np.bool_],
    structure: InputStructure,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Types, and which are given, where a type that is given is that of all that is tied to it.

    Raises
    ------
    InputError
        Two that are tied are given different types.
    """
    aatype, typed = aatype.copy(), typed.copy()
    of_group = np.full(len(ties), -1)
    for row in np.flatnonzero(typed):
        known = of_group[ties[row]]
        if known >= 0 and known != aatype[row]:
            raise InputError(
                f"{structure.describe(row)} of {structure.name} is {ONE_LETTER[aatype[row]]} and "
                f"tied to a residue that is {ONE_LETTER[known]}; give both the same type, or none"
            )
        of_group[ties[row]] = aatype[row]
    given = of_group[ties] >= 0
    return np.where(given, of_group[ties], aatype), typed | given
