"""The header of a PDB file → `EntryInfo`.

Format: wwPDB "Atomic Coordinate Entry Format Description", version 3.30.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pipeline.chain import EntryMetadata
from pipeline.parsing.cif_entry import source_of
from pipeline.parsing.confidence import is_experimental, with_statements
from pipeline.parsing.connections import connections_of_links
from pipeline.parsing.entry_info import Assembly, AssemblyPart, EntryInfo, Polymer
from pipeline.parsing.header_values import (
    completeness_of,
    day_of_pdb,
    no_days_of_pdb,
    r_free_of,
)
from pipeline.parsing.numbers import whole_number
from pipeline.parsing.polymers import MAX_RESIDUES

_MERS = {
    "MONO": 1, "DI": 2, "TRI": 3, "TETRA": 4, "PENTA": 5, "HEXA": 6, "HEPTA": 7, "OCTA": 8,
    "NONA": 9, "DECA": 10, "UNDECA": 11, "DODECA": 12,
}  # fmt: skip
_RESOLUTION = re.compile(r"^REMARK   2 RESOLUTION\.\s+([\d.]+)\s+ANGSTROM")
_BIOMT = re.compile(r"^REMARK 350\s+BIOMT([123])\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)")
_UNIT = re.compile(r"BIOLOGICAL (?:UNIT|ASSEMBLY)[^:]*:\s*(\S+)")


RECORDS = frozenset(
    {
        *("HEADER", "TITLE", "COMPND", "SOURCE", "EXPDTA", "REVDAT"),
        *("DBREF", "DBREF2", "SEQRES", "LINK"),
    }
)
REMARKS = frozenset({"  2", "350", "465"})
"""What `read_header` reads; most lines of a header are other remarks, helices and sheets."""

SIGNS = frozenset({"HEADER", "TITLE", "COMPND", "REMARK", "CRYST1"})
"""What `with_signs` reads."""


def read_header(lines: list[str]) -> EntryInfo:
    """Interpret the lines before the first atom.

    A header that is missing or damaged leaves things unsaid; it never makes a file fail.
    """
    lines = _without_old_margin(lines)
    records: dict[str, list[str]] = defaultdict(list)
    remarks: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        name = line[:6]
        if name == "REMARK":
            remarks[line[7:10]].append(line)
        else:
            records[name.strip()].append(line)
    sequences = _sequences(records["SEQRES"])
    missing = _missing_residues(remarks["465"])
    molecules = _molecules(records["COMPND"])
    taxonomy = _taxonomy(records["SOURCE"])
    accessions = _accessions(records)
    chains = {*sequences, *missing, *molecules, *accessions}
    polymers = {
        chain: Polymer(
            entity_id=molecules.get(chain),
            sequence=sequences.get(chain),
            missing=tuple(missing.get(chain, ())),
            uniprot=accessions.get(chain),
            taxonomy=taxonomy.get(molecules.get(chain, "")),
        )
        for chain in chains
    }
    metadata = _metadata(records, remarks)
    deposited, released = _dates(records)
    is_measured = bool(is_experimental(metadata.method) or metadata.resolution)
    return EntryInfo(
        metadata=metadata,
        polymers=polymers,
        read_assemblies=partial(_assemblies, remarks["350"]),
        read_connections=partial(connections_of_links, records["LINK"]),
        is_measured=is_measured,
        has_origin=bool(is_measured or metadata.method or metadata.source),
        flags=no_days_of_pdb([deposited, *released]),
    )


def with_signs(info: EntryInfo, lines: Sequence[str], has_parent: bool) -> EntryInfo:
    """What else a header says that names neither method nor database: whether there is a unit
    cell, and whether the structure is a prediction.

    Parameters
    ----------
    lines : sequence of str
        Records of `SIGNS`.
    has_parent : bool
        The file has a PARENT record: the form in which predictions are handed in to CASP.
    """
    if any(line.startswith("CRYST1") and _has_cell(line) for line in lines):
        return replace(info, has_origin=True)
    # References are about something else.
    texts = [line[6:] for line in lines if line[:10] != "REMARK   1"]
    texts += [info.metadata.title or ""]  # where one line's end is not a word's
    return with_statements(info, texts, is_handed_in=has_parent)


_X_RAY_DATA, _NEUTRON_DATA = b"REMARK   3  X-RAY DATA.", b"REMARK   3  NEUTRON DATA."
"""What is said of neutrons stands before or behind; REMARK 200 follows, and is of X-rays alone."""
_R_FREE = b"REMARK   3   FREE R VALUE  "
_HIGHEST = b"REMARK   3   RESOLUTION RANGE HIGH "
_COMPLETENESS = (
    b"REMARK 200  COMPLETENESS FOR RANGE ",
    b"REMARK   3   COMPLETENESS FOR RANGE ",
    b"REMARK   3   COMPLETENESS (WORKING+TEST) ",
)


def with_data_quality(info: EntryInfo, head: bytes) -> EntryInfo:
    """What REMARK 3 and 200 say of the data and of how well they are met.

    The few lines are looked for in the text: these remarks may have many thousand. Refinement
    programs write the resolution there, and no REMARK 2.

    Parameters
    ----------
    head : bytes
        The lines before the first atom.
    """
    whole = head
    # SHELXL gives an R of the strong reflections as well, which compares with no other program's.
    head = head[max(0, head.find(_X_RAY_DATA)) :]
    if (begin := head.find(_NEUTRON_DATA)) > 0:
        further = head.find(b"REMARK 200", begin)
        head = head[:begin] + (head[further:] if further > 0 else b"")
    r_free = [r_free_of(v) for label, v in _said(head, _R_FREE) if "SIG" not in label]
    shares = [completeness_of(v) for start in _COMPLETENESS for _, v in _said(head, start)]
    resolution = info.metadata.resolution
    if resolution is None and b"REMARK   2 RESOLUTION" not in whole:
        limits = [_resolution(v) for _, v in _said(head, _HIGHEST)]
        resolution = next((v for v in limits if v is not None), None)
    is_measured = info.is_measured or resolution is not None
    metadata = replace(
        info.metadata,
        resolution=resolution,
        r_free=next((v for v in r_free if v is not None), None),
        data_completeness=next((v for v in shares if v is not None), None),
    )
    return replace(
        info,
        metadata=metadata,
        is_measured=is_measured,
        has_origin=info.has_origin or is_measured,
    )


def _said(head: bytes, start: bytes) -> Iterator[tuple[str, str]]:
    """(label, value) of each line that begins so; what is behind the 80th column is no value."""
    at = head.find(start)
    while at >= 0:
        line = head[at : at + 80].partition(b"\n")[0].decode("latin-1")
        if at == 0 or head[at - 1] == ord("\n"):
            label, _, value = line.partition(":")
            yield label, value.strip()
        at = head.find(start, at + len(start))


def _resolution(text: str) -> float | None:
    """Å; `None` if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1000 else None


def _has_cell(line: str) -> bool:
    """Whether CRYST1 gives a unit cell; one of 1 Å, or of none, stands for no crystal."""
    try:
        return any(float(line[k : k + 9]) > 1 for k in (6, 15, 24))
    except ValueError:
        return False


def _without_old_margin(lines: list[str]) -> list[str]:
    """Lines without columns 73–80, which held the id and a line number before 1996."""
    header = next((line for line in lines if line.startswith("HEADER")), "")
    margin = header[72:76]
    if len(margin.strip()) != 4 or margin != header[62:66]:
        return lines
    return [line[:72] if line[72:76] == margin else line for line in lines]


def _joined(lines: list[str], begin: int = 10, end: int = 80) -> str:
    return " ".join(" ".join(line[begin:end] for line in lines).split())


def _dates(records: dict[str, list[str]]) -> tuple[str, list[str]]:
    """Where the day of the deposition stands, and where those of releases do."""
    header = records["HEADER"][0] if records["HEADER"] else ""
    return header[50:59], [line[13:22] for line in records["REVDAT"] if line[31:32] == "0"]


def _metadata(records: dict[str, list[str]], remarks: dict[str, list[str]]) -> EntryMetadata:
    header = records["HEADER"][0] if records["HEADER"] else ""
    ident = header[62:66].strip() or None
    resolution = None
    for line in remarks["  2"]:
        match = _RESOLUTION.match(line)
        if match:
            resolution = _resolution(match[1])
    deposited, revised = _dates(records)
    releases = map(day_of_pdb, revised)
    methods = _joined(records["EXPDTA"], 10, 79).upper()
    method = "; ".join(m.strip() for m in methods.split(";") if m.strip()) or None
    title = _joined(records["TITLE"])
    # AlphaFold DB leaves the HEADER without an id; its TITLE names the protein.
    told = None if is_experimental(method) else title
    source = source_of(ident if header[50:59].strip() else None, [], False, told)
    oligomer = None
    for line in remarks["350"]:
        match = _UNIT.search(line)
        if match:
            oligomer = _mer(match[1])
            break
    return EntryMetadata(
        file_entry_id=ident,
        method=method,
        resolution=resolution,
        deposition_date=day_of_pdb(deposited),
        release_date=next((d for d in releases if d), None),
        title=title or None,
        source=source,
        oligomer=oligomer,
        confidence_kind="plddt" if source == "AlphaFold DB" else None,
    )


def _mer(word: str) -> int | None:
    word = word.upper().rstrip(".,;")
    if not word.endswith("MERIC"):
        return None
    stem = word.removesuffix("MERIC").rstrip("-")
    return whole_number(stem) or _MERS.get(stem)


def _sequences(lines: list[str]) -> dict[str, tuple[str, ...]]:
    sequences: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        chain = line[10:12].strip() or "_"
        if len(sequences[chain]) <= MAX_RESIDUES:  # what is longer is refused as a whole
            sequences[chain] += line[19:70].upper().split()
    return {k: tuple(v) for k, v in sequences.items() if v}


def _missing_residues(lines: list[str]) -> dict[str, list[tuple[str, int, str]]]:
    missing: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    model = None
    for line in lines:
        number, code = whole_number(line[21:26].strip()), line[26:27].strip()
        name, chain = line[14:18].strip().upper(), line[18:20].strip() or "_"
        if number is None or not name or " " in name:
            continue
        # NMR entries list the residues of every model; the first is read.
        this_model = line[11:14].strip()
        if model is None:
            model = this_model
        if this_model == model:
            missing[chain].append((name, number, code))
    return missing


def _specification(lines: list[str]) -> list[tuple[str, str]]:
    """COMPND and SOURCE: ``KEY: value; KEY: value`` over continued lines."""
    pairs = []
    for item in _joined(lines).split(";"):
        key, colon, value = item.partition(":")
        if colon:
            pairs.append((key.strip().upper(), value.strip()))
    return pairs


def _molecules(lines: list[str]) -> dict[str, str]:
    molecules: dict[str, str] = {}
    molecule = ""
    for key, value in _specification(lines):
        if key.endswith("MOL_ID"):
            molecule = value
        elif key == "CHAIN" and molecule:
            for chain in value.split(","):
                molecules[_chain_id(chain)] = molecule
    return molecules


def _taxonomy(lines: list[str]) -> dict[str, int]:
    taxa: dict[str, int] = {}
    molecule = ""
    for key, value in _specification(lines):
        if key.endswith("MOL_ID"):
            molecule = value
        elif key == "ORGANISM_TAXID":
            number = whole_number(value.split(",")[0].strip())
            if number is not None and number > 0:
                taxa.setdefault(molecule, number)
    return taxa


def _accessions(records: dict[str, list[str]]) -> dict[str, str]:
    accessions: dict[str, str] = {}
    for line in records["DBREF"]:
        if line[26:32].strip() in ("UNP", "SWS", "UNIPROT") and line[33:41].strip():
            accessions.setdefault(line[11:13].strip() or "_", line[33:41].strip())
    for line in records["DBREF2"]:  # accessions too long for DBREF
        if line[18:40].strip():
            accessions.setdefault(line[11:13].strip() or "_", line[18:40].strip())
    return accessions


def _assemblies(lines: list[str]) -> tuple[Assembly, ...]:
    parts: dict[str, list[AssemblyPart]] = {}
    current = ""
    chains: tuple[str, ...] = ()
    matrices: list[tuple[np.ndarray, np.ndarray]] = []
    rows: list[list[float]] = []

    def finish() -> None:
        nonlocal matrices
        if current and chains and matrices:
            parts.setdefault(current, []).append(AssemblyPart(chains, tuple(matrices)))
        matrices = []

    for line in lines:
        text = line[10:].strip()
        if text.startswith("BIOMOLECULE:"):
            finish()
            current, chains = text.partition(":")[2].strip(), ()
        elif text.startswith("APPLY THE FOLLOWING TO CHAINS:"):
            finish()
            chains = _chain_list(text)
        elif text.startswith("AND CHAINS:"):
            chains += _chain_list(text)
        else:
            match = _BIOMT.match(line)
            if not match:
                continue
            try:
                row = [float(match[k]) for k in range(3, 7)]
            except ValueError:
                continue
            if not np.isfinite(row).all():
                continue
            rows = [row] if match[1] == "1" else [*rows, row]
            if match[1] == "3" and len(rows) == 3:
                matrix = np.array(rows)
                matrices.append((matrix[:, :3], matrix[:, 3]))
    finish()
    return tuple(Assembly(ident, tuple(p)) for ident, p in parts.items())


def _chain_list(text: str) -> tuple[str, ...]:
    return tuple(_chain_id(c) for c in text.partition(":")[2].split(",") if c.strip())


def _chain_id(text: str) -> str:
    """COMPND and REMARK 350 write NULL for the blank id."""
    text = text.strip()
    return "_" if text in ("", "NULL") else text


def with_blank_chain(info: EntryInfo, chains: set[str]) -> EntryInfo:
    """Old files write the only chain as blank in the atoms and as ``A`` in the header, or the
    other way round; the header's chain then describes it."""
    if len(chains) == 1 and len(info.polymers) == 1:
        (chain,), (described,) = chains, info.polymers
        if chain != described and "_" in (chain, described):
            return replace(info, polymers={chain: info.polymers[described]})
    return info
