"""Atoms through biotite: the last resort for files the other readers refuse, and the reference
that the differential tests hold them to.

Nothing here is shared with the other readers but the record they fill: text becomes numbers through
`decimal`, value by value.
"""

from __future__ import annotations

import io
import re
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import ABSENT, AtomTable, empty_names
from pipeline.parsing.cif_atoms import Models, number_by_label
from pipeline.parsing.errors import ParseError
from pipeline.parsing.fields import item_size
from pipeline.sources import Format

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_UNCERTAINTY = re.compile(r"\([0-9]+\)(?=[eE]|$)")
_WHOLE = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_WITH_INSERTION_CODE = re.compile(r"([+-]?[0-9]+)([A-Za-z])")


def atoms_with_biotite(data: bytes, file_format: Format, models: Models) -> AtomTable:
    """Read the atoms of the first model (or of all) with biotite.

    Raises
    ------
    ParseError
        biotite cannot read the file either; the sentence is biotite's.
    """
    # Imported here: biotite costs 0.4 s, and nearly no file needs it.
    from biotite import DeserializationError, InvalidFileError
    from biotite.structure import BadStructureError

    broken = (
        *(InvalidFileError, BadStructureError, DeserializationError),
        *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    )
    read = _read_pdb if file_format == "pdb" else _read_pdbx
    try:
        return read(data, file_format, models)
    except broken as error:
        raise ParseError(
            "unreadable-format", f"biotite cannot read the file either: {error}"
        ) from None


def _read_pdbx(data: bytes, file_format: Format, models: Models) -> AtomTable:
    from biotite.structure.io import pdbx

    file: pdbx.BinaryCIFFile | pdbx.CIFFile
    if file_format == "bcif":
        file = pdbx.BinaryCIFFile.read(io.BytesIO(data))
    else:
        file = pdbx.CIFFile.read(io.StringIO(data.decode("utf-8", "replace")))
    block = next((b for b in file.values() if "atom_site" in b), None)
    if block is None:
        raise ParseError("no-atom-site", "the file has no _atom_site table")
    site = block["atom_site"]
    n = site.row_count

    def values(*tags: str) -> list[str] | None:
        for tag in tags:
            if tag in site:
                column = site[tag]
                texts = column.as_array(str).tolist()
                if file_format == "bcif" and column.data.array.dtype == np.float64:
                    # Twelve decimals would tell of binary fractions, not of coordinates.
                    texts = [f"{value:.6f}" for value in column.data.array.tolist()]
                if column.mask is not None:
                    present = column.mask.array == 0
                    texts = [v if p else "" for v, p in zip(texts, present, strict=True)]
                return ["" if v in (".", "?") else v.strip() for v in texts]
        return None

    borrowed: list[str] = []

    def text(*tags: str) -> NDArray[np.bytes_]:
        columns = [texts for tag in tags if (texts := values(tag)) is not None]
        if not columns:
            return empty_names(n)
        of_rows = list(zip(*columns, strict=True))
        tell_borrowed(tags[0], np.array([not row[0] and any(row) for row in of_rows], bool)[kept])
        return _names(np.array([next(filter(None, row), "") for row in of_rows], str))

    def tell_borrowed(tag: str, which: NDArray[np.bool_]) -> None:
        if which.any():
            borrowed.append(f"{tag}:{np.count_nonzero(which)}")

    def numbers(*tags: str) -> NDArray[np.int32]:
        texts = values(*tags) or [""] * n
        matches = map(_WHOLE.fullmatch, texts)
        whole = [int(match[1]) if match else ABSENT for match in matches]
        return np.array([v if abs(v) < 2**31 else ABSENT for v in whole], np.int32)

    model = numbers("pdbx_PDB_model_num")
    model = np.where(model == ABSENT, np.int32(1), model)
    kept = (model == model[0]) if models == "first" else np.ones(n, bool)
    axes = [_scaled(values(f"Cartn_{axis}") or [""] * n, 3) for axis in "xyz"]
    name = text("label_atom_id", "auth_atom_id")
    auth_seq_id, ins_code = numbers("auth_seq_id", "label_seq_id"), text("pdbx_PDB_ins_code")
    for row, (word, code) in enumerate(zip(values("auth_seq_id") or [], ins_code, strict=False)):
        match = _WITH_INSERTION_CODE.fullmatch(word)
        if match and code in (b"", match[2].encode()) and abs(int(match[1])) < 2**31:
            auth_seq_id[row], ins_code[row] = int(match[1]), match[2].encode()
    comp_id = text("label_comp_id", "auth_comp_id")
    has_authors_chain = values("auth_asym_id") is not None
    auth_asym_id = text("auth_asym_id" if has_authors_chain else "label_asym_id")
    label_seq_id = numbers("label_seq_id")
    of_kept = auth_seq_id[kept]
    tell_borrowed("auth_seq_id", number_by_label(of_kept, label_seq_id[kept], auth_asym_id[kept]))
    auth_seq_id[kept] = of_kept
    b_factor, known, _ = _scaled(values("B_iso_or_equiv") or [""] * n, 4)
    atoms = AtomTable(
        model=model,
        hetero=text("group_PDB") == b"HETATM",
        element=text("type_symbol"),
        name=name,
        altloc=text("label_alt_id"),
        comp_id=comp_id,
        label_asym_id=text("label_asym_id"),
        auth_asym_id=auth_asym_id,
        label_entity_id=text("label_entity_id"),
        label_seq_id=label_seq_id,
        auth_seq_id=auth_seq_id,
        ins_code=ins_code,
        coords=np.stack([value for value, _, _ in axes], axis=-1).astype(np.int32),
        located=np.logical_and.reduce([good for _, good, _ in axes]),
        occupancy=_occupancies(*_scaled(values("occupancy") or [""] * n, 2)[:2]),
        b_factor=np.where((name == b"CA") & known, b_factor / 1e4, 0).astype(np.float32),
        after_ter=np.zeros(n, bool),
        rounded=not all(exact for _, _, exact in axes),
        borrowed=tuple(borrowed),
    )
    return atoms.select(kept) if models == "first" else atoms


def _scaled(texts: list[str], places: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], bool]:
    """(integers of ``10**-places``, which are numbers, nothing was rounded)."""
    read = [_scaled_one(text, places) for text in texts]
    return (
        np.array([value for value, _, _ in read], np.int64),
        np.array([good for _, good, _ in read], bool),
        all(exact for _, _, exact in read),
    )


@lru_cache(maxsize=65536)
def _scaled_one(text: str, places: int) -> tuple[int, bool, bool]:
    text = _UNCERTAINTY.sub("", text, count=1)
    if not _DECIMAL.fullmatch(text):
        return 0, False, True
    exact = Decimal(text).scaleb(places)
    value = int(exact.to_integral_value(ROUND_HALF_EVEN))
    if abs(value) >= 2**31:
        return 0, False, True
    return value, True, value == exact


def _occupancies(values: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.where(known, np.clip(values, -(2**20), 2**20), 100).astype(np.int32)


def _read_pdb(data: bytes, _: Format, models: Models) -> AtomTable:
    from biotite.structure.io import pdb

    file = pdb.PDBFile.read(io.StringIO(data.decode("latin-1")))
    numbers = range(1, 2 if models == "first" else file.get_model_count() + 1)
    tables = []
    for number in numbers:
        array = file.get_structure(
            model=number, altloc="all", extra_fields=["b_factor", "occupancy"]
        )
        n = array.array_length()
        chain = _names(np.where(array.chain_id == "", "_", array.chain_id))
        name = _names(array.atom_name)
        # biotite keeps coordinates as float32: good for 0.001 Å up to 8,000 Å.
        scaled = array.coord.astype(np.float64) * 1000
        located = np.isfinite(scaled).all(axis=-1)
        coords = np.rint(np.where(located[:, None], scaled, 0))
        tables.append(
            AtomTable(
                model=np.full(n, number, np.int32),
                hetero=array.hetero,
                element=_names(array.element),
                name=name,
                altloc=_names(np.char.strip(array.altloc_id)),
                comp_id=_names(array.res_name),
                label_asym_id=chain,
                auth_asym_id=chain,
                label_entity_id=empty_names(n),
                label_seq_id=np.full(n, ABSENT, np.int32),
                auth_seq_id=array.res_id.astype(np.int32),
                ins_code=_names(array.ins_code),
                coords=coords.astype(np.int32),
                located=located,
                occupancy=_occupancies(
                    np.rint(array.occupancy.astype(np.float64) * 100), np.ones(n, bool)
                ),
                b_factor=np.where(name == b"CA", array.b_factor, 0).astype(np.float32),
                after_ter=np.zeros(n, bool),
            )
        )
    return concatenate(tables)


_OF_THE_FILE = (
    "rounded",
    "stretch",
    "segid",
    "later_chains",
    "later_residues",
    "had_lower_case_names",
    "borrowed",
)
"""What is no column, or not there in what biotite reads."""


def concatenate(tables: list[AtomTable]) -> AtomTable:
    """One table of several, in order."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(t, name) for t in tables])
        for name in AtomTable.__slots__
        if name not in _OF_THE_FILE
    }
    return AtomTable(rounded=any(t.rounded for t in tables), **columns)


def _names(values: NDArray[np.str_]) -> NDArray[np.bytes_]:
    text = np.char.encode(values, "utf-8")
    return text.astype(f"S{item_size(max(text.dtype.itemsize, 1))}")
