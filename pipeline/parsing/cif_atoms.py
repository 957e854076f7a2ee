"""``atom_site`` → `AtomTable`, from an mmCIF loop or a BinaryCIF category alike.

Definitions: the mmCIF dictionary of the wwPDB (mmcif_pdbx_v50), category ``atom_site``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import (
    ABSENT,
    NOTHING_LATER,
    AtomTable,
    empty_names,
    in_capitals,
    only_later,
)
from pipeline.parsing.bcif import BinaryCategory
from pipeline.parsing.cif_table import Rows, TextTable
from pipeline.parsing.errors import NotAStructure, ParseError
from pipeline.parsing.fields import is_name, run_lengths
from pipeline.residues import with_hydrogens_named_for_metals

Models = Literal["first", "all"]

_COORDINATES = ("cartn_x", "cartn_y", "cartn_z")
_COMPONENT = "label_comp_id", "auth_comp_id"
_AUTHORS_CHAIN = "auth_asym_id", "label_asym_id"
_RESIDUE_TAGS = (
    "group_pdb",
    "label_comp_id",
    "label_asym_id",
    "label_entity_id",
    "label_seq_id",
    "pdbx_pdb_ins_code",
    "auth_seq_id",
    "auth_comp_id",
    "auth_asym_id",
    "pdbx_pdb_model_num",
)
MAX_COORDINATE = 2**31 - 1
_NUMBER_AND_CODE = re.compile(rb"([+-]?[0-9]{1,9})([A-Za-z])")

Value = TypeVar("Value", bound=np.generic)


def read_atoms(
    table: TextTable | BinaryCategory, models: Models, *, every_b_factor: bool = False
) -> AtomTable:
    """Read the rows of the first model of the file (whatever its number), or of all models.

    Raises
    ------
    NotAStructure
        The table has no Cartesian coordinates.
    ParseError
        The table has no atom or residue names, or a column does not decode.
    """
    _check_columns(table)
    rows: Rows = slice(0, table.n_rows)
    heads = table.run_heads(_RESIDUE_TAGS)
    later_chains, later_residues = NOTHING_LATER
    has_models = "pdbx_pdb_model_num" in table and table.n_rows
    if has_models and models == "first" and not table.is_constant("pdbx_pdb_model_num"):
        at = rows if heads is None else heads
        (model,) = table.integers(["pdbx_pdb_model_num"], at)
        later_chains, later_residues = _later_content(table, at, model)
        of_first = _prefix_or_mask(model == model[0])
        if heads is None:
            rows = of_first
        elif isinstance(of_first, slice):
            # Rows up to the first head of another model.
            end = heads[of_first.stop] if of_first.stop < len(heads) else table.n_rows
            rows, heads = slice(0, int(end)), heads[of_first]
        else:
            (model,) = table.integers(["pdbx_pdb_model_num"], rows)
            rows, heads = _prefix_or_mask(model == model[0]), None
    n = rows.stop if isinstance(rows, slice) else int(np.count_nonzero(rows))
    counts = None if heads is None else run_lengths(heads, n)

    def per_atom(values: NDArray[Value]) -> NDArray[Value]:
        """Spread what was read at the heads only."""
        return values if counts is None else np.repeat(values, counts)

    of_residue = rows if heads is None else heads
    borrowed: list[str] = []

    def name_columns(where: Rows, *alternatives: tuple[str, ...]) -> list[NDArray[np.bytes_]]:
        length = n if counts is None or where is rows else len(counts)
        columns, others = _names_by_value(table, where, length, alternatives)
        tell_borrowed(others, length)
        return columns

    def tell_borrowed(others: dict[str, NDArray[np.bool_]], length: int) -> None:
        n_atoms = np.ones(n, np.int64) if counts is None or length == n else counts
        borrowed.extend(f"{tag}:{n_atoms[rows].sum()}" for tag, rows in others.items())

    wanted = {
        "model": ("pdbx_pdb_model_num",),
        "label": ("label_seq_id",),
        "auth": ("auth_seq_id", "label_seq_id"),
    }
    tags = {k: next((t for t in names if t in table), None) for k, names in wanted.items()}
    present = list(dict.fromkeys(t for t in tags.values() if t is not None))
    columns = table.integers(present, of_residue) if present else []
    numbers = dict(zip(present, columns, strict=True))

    def number_column(key: str) -> NDArray[np.int32]:
        tag = tags[key]
        return np.full(n, ABSENT, np.int32) if tag is None else per_atom(numbers[tag])

    model = number_column("model")
    model = np.where(model == ABSENT, np.int32(1), model)

    values, valid, exact = table.fixed(_COORDINATES, 3, rows)
    valid &= np.abs(values) <= MAX_COORDINATE
    values[~valid] = 0
    coords = np.ascontiguousarray(values.T, np.int32)
    located: NDArray[np.bool_] = np.logical_and.reduce(valid, axis=0)

    occupancy = np.full(n, 100, np.int32)
    if "occupancy" in table:
        changes = table.run_heads(["occupancy"]) if isinstance(rows, slice) else None
        if changes is not None:
            changes = changes[changes < n]
        (values,), (valid,), _ = table.fixed(["occupancy"], 2, rows if changes is None else changes)
        occupancy = np.where(valid, np.clip(values, -(2**20), 2**20), 100).astype(np.int32)
        if changes is not None:
            occupancy = np.repeat(occupancy, run_lengths(changes, n))
    name, element, altloc = name_columns(
        rows, ("label_atom_id", "auth_atom_id"), ("type_symbol",), ("label_alt_id",)
    )
    name, had_lower_case_names = in_capitals(name)
    group, *of_residues, ins_code = name_columns(
        of_residue,
        ("group_pdb",),
        _COMPONENT,
        ("label_asym_id",),
        _AUTHORS_CHAIN,
        ("label_entity_id",),
        ("pdbx_pdb_ins_code",),
    )
    if "auth_seq_id" in numbers and (numbers["auth_seq_id"] == ABSENT).any():
        (texts,) = table.names(["auth_seq_id"], of_residue)
        ins_code = _split_insertion_codes(texts, numbers["auth_seq_id"], ins_code)
        if "label_seq_id" in numbers:
            chain = of_residues[2]
            from_label = number_by_label(numbers["auth_seq_id"], numbers["label_seq_id"], chain)
            if from_label.any():
                tell_borrowed({"auth_seq_id": from_label}, len(chain))
    hetero = is_name(group, b"HETATM")
    if "group_pdb" in table and not (hetero | is_name(group, b"ATOM")).all():
        hetero = _hetero_of_odd_records(group)
    hetero = per_atom(hetero)
    comp_id, label_asym_id, auth_asym_id, entity_id, ins_code = (
        per_atom(texts) for texts in (*of_residues, ins_code)
    )
    b_factor = np.zeros(n, np.float32)
    if "b_iso_or_equiv" in table:
        # Only those of CA are stored, and reading them all would cost as much as a coordinate.
        alphas = np.arange(n) if every_b_factor else np.flatnonzero(is_name(name, b"CA"))
        rows_of_alphas = np.arange(table.n_rows)[rows][alphas]
        b_factor[alphas] = _b_factors(table, rows_of_alphas)
    return AtomTable(
        model=model,
        hetero=hetero,
        element=with_hydrogens_named_for_metals(element, name, comp_id),
        name=name,
        altloc=altloc,
        comp_id=comp_id,
        label_asym_id=label_asym_id,
        auth_asym_id=auth_asym_id,
        label_entity_id=entity_id,
        label_seq_id=number_column("label"),
        auth_seq_id=number_column("auth"),
        ins_code=ins_code,
        coords=coords,
        located=located,
        occupancy=occupancy,
        b_factor=b_factor,
        after_ter=np.zeros(n, bool),
        rounded=not exact,
        later_chains=later_chains,
        later_residues=later_residues,
        had_lower_case_names=had_lower_case_names,
        borrowed=tuple(borrowed),
    )


def _names_by_value(
    table: TextTable | BinaryCategory,
    rows: Rows,
    n: int,
    alternatives: Sequence[tuple[str, ...]],
) -> tuple[list[NDArray[np.bytes_]], dict[str, NDArray[np.bool_]]]:
    """One column per tuple of tags: of the first that the table has, and of the second in the rows
    where that has no value; and by tag which rows these are, where there are any.

    A chain without the author's id stays so: programs write chains of PDB files that have none like
    this, under labels that they make up.
    """
    tags = [[tag for tag in of_column if tag in table] for of_column in alternatives]
    present = list(dict.fromkeys(of_column[0] for of_column in tags if of_column))
    read = dict(zip(present, table.names(present, rows), strict=True))
    columns = [read[of_column[0]] if of_column else empty_names(n) for of_column in tags]
    others = {}
    for k, of_column in enumerate(tags):
        if of_column[0:1] == ["auth_asym_id"]:
            continue
        if len(of_column) > 1 and (is_absent := is_name(columns[k], b"")).any():
            (other,) = table.names(of_column[1:], rows)
            if (from_other := is_absent & ~is_name(other, b"")).any():
                columns[k] = np.where(from_other, other, columns[k])
                others[of_column[0]] = from_other
    return columns, others


def _later_content(
    table: TextTable | BinaryCategory, rows: Rows, model: NDArray[np.int32]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    def first_of(*tags: str) -> list[str]:
        return [tag for tag in tags if tag in table][:1]

    if not first_of("auth_asym_id", "label_asym_id"):
        return NOTHING_LATER
    n = len(model)
    (chain, comp_id), _ = _names_by_value(table, rows, n, (_AUTHORS_CHAIN, _COMPONENT))
    tags = [tag for tag in ("auth_seq_id", "label_seq_id") if tag in table]
    numbers: list[NDArray[Any]] = list(table.integers(tags, rows)) if tags else []
    if len(tags) > 1:
        label = numbers.pop()
        number_by_label(numbers[0], label, chain)
    others = first_of("group_pdb") + first_of("pdbx_pdb_ins_code")
    columns = dict(zip(others, table.names(others, rows), strict=True))
    group = columns.pop("group_pdb", empty_names(n))
    numbers += columns.values()
    return only_later(model, chain, comp_id, numbers, is_name(group, b"HETATM"))


def count_unread(table: TextTable | BinaryCategory) -> dict[str, int]:
    """What is read of no file: later models, and formal charges of atoms of the first."""
    everything = slice(0, table.n_rows)
    counts, of_first = {}, np.ones(table.n_rows, bool)
    if "pdbx_pdb_model_num" in table and table.n_rows:
        (model,) = table.integers(["pdbx_pdb_model_num"], everything)
        of_first = model == model[0]
        counts["later model"] = len(np.unique(model)) - 1
    if "pdbx_formal_charge" in table and table.n_rows:
        (charge,) = table.names(["pdbx_formal_charge"], everything)
        charged = (charge != b"") & (charge != b"0") & of_first
        counts["formal charge"] = int(np.count_nonzero(charged))
    return counts


def _split_insertion_codes(
    texts: NDArray[np.bytes_], numbers: NDArray[np.int32], ins_code: NDArray[np.bytes_]
) -> NDArray[np.bytes_]:
    """Read ``52A`` as 52, into `numbers`, and A, where no other insertion code is given.

    Returns
    -------
    (n,) bytes
        The insertion codes.
    """
    odd = np.flatnonzero((numbers == ABSENT) & (texts != b""))
    matches = [_NUMBER_AND_CODE.fullmatch(text) for text in texts[odd].tolist()]
    for row, match in zip(odd.tolist(), matches, strict=True):
        if match and ins_code[row] in (b"", match[2]):
            numbers[row], ins_code[row] = int(match[1]), match[2]
    return ins_code


def number_by_label(
    numbers: NDArray[np.int32], label: NDArray[np.int32], chain: NDArray[np.bytes_]
) -> NDArray[np.bool_]:
    """Give `numbers` that are `ABSENT` those of `label_seq_id`: they differ from it by as much as
    the last of the chain before them does that has both, or the first behind them.

    Returns
    -------
    (n,) bool
        Where that was done.
    """
    done = (numbers == ABSENT) & (label != ABSENT)
    for name in np.unique(chain[done]):
        rows = np.flatnonzero((chain == name) & (label != ABSENT))
        number, found = numbers[rows].astype(np.int64), label[rows].astype(np.int64)
        is_known = number != ABSENT
        if is_known.any():
            nearest = np.where(is_known, np.arange(len(rows)), int(np.argmax(is_known)))
            found += (number - found)[np.maximum.accumulate(nearest)]
        fits = np.abs(found) < 2**31
        done[rows] &= fits
        numbers[rows] = np.where(is_known | ~fits, number, found)
    return done


def _b_factors(table: TextTable | BinaryCategory, rows: Rows) -> NDArray[np.float64]:
    """Å²; two decimals in archive files, read with four where there are more."""
    for places in (2, 4):
        (values,), (valid,), exact = table.fixed(["b_iso_or_equiv"], places, rows)
        if exact:
            break
    return np.where(valid, values, 0) / 10**places


def _check_columns(table: TextTable | BinaryCategory) -> None:
    missing = [tag for tag in _COORDINATES if tag not in table]
    if missing:
        raise NotAStructure(
            "no-coordinates",
            "the atom_site table has no Cartesian coordinates (_atom_site.Cartn_x)",
        )
    if "label_atom_id" not in table and "auth_atom_id" not in table:
        raise ParseError("no-atom-names", "the atom_site table has no atom names (label_atom_id)")
    if "label_comp_id" not in table and "auth_comp_id" not in table:
        raise ParseError("no-residue-names", "the atom_site table has no label_comp_id")


def _hetero_of_odd_records(group: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Which rows are HETATM where some are neither that nor ATOM, in these letters."""
    upper = np.char.upper(group)
    hetero = upper == b"HETATM"
    strange = ~(hetero | (upper == b"ATOM") | (upper == b""))
    if strange.any():
        row = int(np.argmax(strange))
        raise ParseError(
            "malformed-loop",
            f"row {row + 1} of the atom_site table has {group[row].decode('utf-8', 'replace')!r} "
            "for group_PDB, not ATOM or HETATM: its values are not where the columns say",
        )
    return hetero


def _prefix_or_mask(mask: NDArray[np.bool_]) -> slice | NDArray[np.bool_]:
    """A slice where the true rows come first (the usual order of models), else the mask."""
    count = int(np.count_nonzero(mask))
    return slice(0, count) if mask[:count].all() else mask
