"""One file's bytes → its chains: the formats, the readers in their order, the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import Beside, Chain, EntryMetadata
from pipeline.parsing import cif_atoms, pdb_text
from pipeline.parsing.assembly import build_assembly
from pipeline.parsing.atom_table import (
    AtomTable,
    ChainAtoms,
    with_undefined_unlocated,
    without_dummies,
)
from pipeline.parsing.bcif import BinaryCif
from pipeline.parsing.cif_atoms import Models
from pipeline.parsing.cif_entry import CATEGORIES, read_entry
from pipeline.parsing.cif_text import CifText
from pipeline.parsing.cif_tokens import CifTokens
from pipeline.parsing.confidence import BFactorIs, settle_confidence
from pipeline.parsing.entry_info import Connection, EntryInfo
from pipeline.parsing.errors import Irregular, NotAStructure, ParseError
from pipeline.parsing.fields import changes
from pipeline.parsing.interpret import DroppedChain, interpret
from pipeline.parsing.pdb_header import (
    RECORDS,
    REMARKS,
    SIGNS,
    read_header,
    with_blank_chain,
    with_data_quality,
    with_signs,
)
from pipeline.parsing.polymers import MAX_RESIDUES
from pipeline.parsing.runs import is_hydrogen, text
from pipeline.parsing.with_biotite import atoms_with_biotite
from pipeline.sources import HEAD_BYTES, Format, describe_content, sniff

MAX_ASSEMBLY_CHAINS = 60
MAX_TEXT = 10_000
"""Characters of a title, a method, an id; the longest titles of the PDB have some 700."""

Accept = Callable[[EntryMetadata], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class ParsedEntry:
    """What one file gave.

    Attributes
    ----------
    chains : list of Chain
        May be empty; then `dropped` or the absence of proteins says why.
    dropped : list of DroppedChain
    metadata : EntryMetadata
    format : {"pdb", "cif", "bcif"}
        By content.
    reader : str
        ``aligned``, ``tokens``, ``grammar``, ``bcif``, ``pdb`` or ``biotite``.
    flags : list of str
        Remarks such as ``maybe_truncated``, ``several_data_blocks``.
    n_atoms : int
        Atom rows read (of the models wanted).
    others : AtomTable or None
        If they were asked for, the atoms of ligands, metals, sugars and nucleic acids of the first
        model; no waters and no hydrogens.
    n_hydrogens : int
        Of the first model, if `others` were asked for.
    beside : list of Beside
        Of each model with several chains (of one, in an assembly) what is beside these.
    n_ends : int
        Residues with atoms but without a backbone at the ends of chains, where no row is.
    of_chains : list of ChainAtoms
        If `others` were asked for, the atoms of each of the chains of the first model.
    connections : tuple of Connection
        If `others` were asked for, the bonds that the file lists.
    unread : dict
        If `others` were asked for, how often the file tells what is never read, by name.
    """

    chains: list[Chain]
    dropped: list[DroppedChain]
    metadata: EntryMetadata
    format: Format
    reader: str
    flags: list[str] = field(default_factory=list)
    n_atoms: int = 0
    rejected: tuple[str, str] | None = None
    others: AtomTable | None = None
    n_hydrogens: int = 0
    beside: list[Beside] = field(default_factory=list)
    n_ends: int = 0
    of_chains: list[ChainAtoms] = field(default_factory=list)
    connections: tuple[Connection, ...] = ()
    unread: dict[str, int] = field(default_factory=dict)


def read_chains(
    data: bytes,
    entry_id: str,
    *,
    models: Models = "first",
    assembly: str | None = None,
    max_assembly_chains: int = MAX_ASSEMBLY_CHAINS,
    b_factor_is: BFactorIs = "auto",
    accept: Accept | None = None,
    with_others: bool = False,
    with_unoccupied: bool = False,
) -> ParsedEntry:
    """Read the polypeptide chains of a structure file.

    Parameters
    ----------
    data : bytes
        The decompressed file; its content decides the format.
    entry_id : str
        Becomes ``Chain.entry_id``.
    models : {"first", "all"}
        The first model of the file, whatever its number, or all.
    assembly : str, optional
        Id of a biological assembly, or ``first``; without it, the asymmetric unit.
    max_assembly_chains : int
    b_factor_is : {"auto", "plddt"}
        What is known of the file's B-factors; see `settle_confidence`.
    accept : callable, optional
        Judges the header before any atom is read: metadata → ``None``, or (reason, detail) to
        reject the entry; it then has no chains, and `ParsedEntry.rejected` says why.
    with_others : bool
        Read what is beside the protein, too, and what its chains have beside their rows; for what
        is packed, not for datasets.
    with_unoccupied : bool
        Read atoms without occupancy like others; not for datasets either.

    Returns
    -------
    ParsedEntry

    Raises
    ------
    NotAStructure
        A file without atoms: nothing for us in it.
    ParseError
        A file that is damaged, or that no reader understands.
    """
    file_format = sniff(data[:HEAD_BYTES])
    if file_format is None:
        raise NotAStructure("not-a-structure", describe_content(data[:HEAD_BYTES]))
    flags: list[str] = []
    try:
        if file_format == "pdb":
            atoms, info, reader = _read_pdb(data, models, accept, flags)
        else:
            atoms, info, reader = _read_pdbx(data, file_format, models, accept, flags)
    except _RejectedError as rejection:
        return ParsedEntry(
            [], [], rejection.metadata, file_format, "header", rejected=rejection.why
        )
    atoms, n_dummies = without_dummies(atoms)
    if n_dummies:
        flags.append(f"dummy_atoms:{n_dummies}")
    if not len(atoms):
        raise NotAStructure("no-atoms", "the file's atom table is empty")
    n_located = int(np.count_nonzero(atoms.located))
    if n_located < len(atoms) / 2:
        raise ParseError(
            "unreadable-coordinates",
            f"only {n_located} of {len(atoms)} atoms have three coordinates that are numbers "
            + ("in columns 31-54" if file_format == "pdb" else "(_atom_site.Cartn_x, y, z)"),
        )
    atoms = with_undefined_unlocated(atoms)
    if info.claimed_atoms is not None and _n_atoms_of_one_model(atoms) < info.claimed_atoms // 2:
        # Refinement programs count differently (riding hydrogens, alternates), but none sees
        # twice the atoms that are there.
        flags.append("maybe_truncated")
    flags += info.flags
    if atoms.had_lower_case_names:
        flags.append("lower_case_atom_names")
    flags += [f"other_column_read:{told}" for told in atoms.borrowed]
    if atoms.later_chains:
        flags.append("chains_of_later_models:" + ",".join(map(text, atoms.later_chains)))
    if atoms.later_residues:
        flags.append("residues_of_later_models:" + ",".join(map(text, atoms.later_residues)))
    chains: list[Chain] = []
    dropped: list[DroppedChain] = []
    metadata = info.metadata
    others: AtomTable | None = None
    beside: list[Beside] = []
    n_hydrogens = n_ends = 0
    of_chains: list[ChainAtoms] = []
    for of_model in _models(atoms):
        first = with_others and others is None
        result = interpret(
            of_model,
            info,
            entry_id,
            with_others=first,
            with_unoccupied=with_unoccupied,
            with_beside=assembly is not None,
        )
        if first:
            others, of_chains = result.others, result.of_chains
            n_hydrogens = int(np.count_nonzero(is_hydrogen(of_model)))
        chains += result.chains
        dropped += result.dropped
        beside += [result.beside] if result.beside is not None else []
        n_ends += result.n_ends
        flags += [f for f in result.flags if f not in flags]
    chains, remarks = settle_confidence(chains, info, b_factor_is)
    flags += remarks
    if chains:
        metadata = chains[-1].metadata
    if assembly is not None and chains:
        labels = _ids(atoms.label_asym_id) | info.polymers.keys()
        labels |= {chain.label_asym_id for chain in chains}
        authors = _ids(atoms.auth_asym_id)
        chains, beside, remarks = build_assembly(
            chains, beside, info, assembly, max_assembly_chains, (labels, authors)
        )
        flags += remarks
    connections, unread = _beside_atoms(info) if with_others else ((), {})
    return ParsedEntry(
        chains=chains,
        dropped=dropped,
        metadata=metadata,
        format=file_format,
        reader=reader,
        flags=list(dict.fromkeys(flags)),
        n_atoms=len(atoms),
        others=others,
        n_hydrogens=n_hydrogens,
        beside=beside,
        n_ends=n_ends,
        of_chains=of_chains,
        connections=connections,
        unread=unread,
    )


def _beside_atoms(info: EntryInfo) -> tuple[tuple[Connection, ...], dict[str, int]]:
    """Bonds, and what is not read; atoms stand without them."""
    try:
        return info.read_connections(), info.count_unread()
    except ParseError:
        return (), {}


def _ids(column: NDArray[np.bytes_]) -> set[str]:
    return {name.decode("utf-8", "replace") for name in np.unique(column).tolist()}


def _models(atoms: AtomTable) -> Iterator[AtomTable]:
    """The atoms of each model, in the order in which the models appear."""
    firsts = changes(atoms.model)
    if len(firsts) == 1:
        yield atoms
        return
    numbers = atoms.model[firsts].tolist()
    if len(set(numbers)) == len(numbers):
        for begin, end in pairwise([*firsts.tolist(), len(atoms)]):
            yield atoms.select(slice(begin, end))
    else:
        for number in dict.fromkeys(numbers):
            yield atoms.select(atoms.model == number)


class _RejectedError(Exception):
    """Ends the reading of an entry whose header is not accepted."""

    def __init__(self, metadata: EntryMetadata, why: tuple[str, str]):
        super().__init__(why)
        self.metadata, self.why = metadata, why


def _judge(metadata: EntryMetadata, accept: Accept | None) -> None:
    why = accept(metadata) if accept is not None else None
    if why is not None:
        raise _RejectedError(metadata, why)


def _check_no_excess(info: EntryInfo) -> None:
    """Texts are repeated for every chain: a title of a megabyte would be a gigabyte in the shard.
    A sequence longer than a model may be would only be aligned."""
    told = info.metadata
    texts = [("id", told.file_entry_id), ("title", told.title), ("method", told.method)]
    for polymer in (*info.polymers.values(), *info.entities.values()):
        texts += [("entity id", polymer.entity_id), ("accession", polymer.uniprot)]
        if polymer.sequence is not None and len(polymer.sequence) > MAX_RESIDUES:
            raise ParseError(
                "too-many-rows",
                f"one of its sequences has over {MAX_RESIDUES:,} residues",
            )
    for name, value in texts:
        if value is not None and len(value) > MAX_TEXT:
            raise ParseError(
                "overlong-value",
                f"its {name} has {len(value):,} characters; at most {MAX_TEXT:,} are read",
            )


def _n_atoms_of_one_model(atoms: AtomTable) -> int:
    return int(np.count_nonzero(atoms.model == atoms.model[0]))


def _read_pdb(
    data: bytes, models: Models, accept: Accept | None, flags: list[str]
) -> tuple[AtomTable, EntryInfo, str]:
    pdb = pdb_text.PdbText(data)
    info = with_data_quality(read_header(pdb.header(RECORDS, REMARKS)), pdb.head)
    _check_no_excess(info)
    _judge(info.metadata, accept)
    if info.may_look_predicted:
        info = with_signs(info, pdb.header(SIGNS), len(pdb.lines_of(b"PARENT")) > 0)
        again = partial(pdb_text.read_atoms, pdb, models, every_b_factor=True)
        info = replace(info, read_every_b_factor=again)
    info = replace(info, count_unread=partial(pdb_text.count_unread, pdb))
    atoms = pdb_text.read_atoms(pdb, models)
    if pdb.n_cut_records:
        flags.append(f"cut_records:{pdb.n_cut_records}")
    if pdb.n_indented:
        flags.append(f"indented_records:{pdb.n_indented}")
    if pdb.is_cut:
        flags.append("maybe_truncated")
    if pdb.n_behind_end:
        flags.append(f"atoms_behind_end:{pdb.n_behind_end}")
    if pdb.n_wide_residues:
        flags.append(f"wide_records:{pdb.n_wide_residues}")
    flags += pdb.flags_of_names
    if len(info.polymers) == 1:
        info = with_blank_chain(info, _ids(atoms.label_asym_id))
    return atoms, info, "pdb"


def _read_pdbx(
    data: bytes, file_format: Format, models: Models, accept: Accept | None, flags: list[str]
) -> tuple[AtomTable, EntryInfo, str]:
    document: CifText | CifTokens | BinaryCif
    try:
        if file_format == "bcif":
            document = BinaryCif(data, CATEGORIES)
            return _read_document(document, models, accept, flags)
        try:
            document = CifText(data)
            return _read_document(document, models, accept, flags)
        except Irregular:
            document = CifTokens(data)
            return _read_document(document, models, accept, flags)
    except NotAStructure:
        raise
    except ParseError as error:
        # A table whose rows are known to be incomplete gets no second opinion, nor do bytes that
        # claim absurd sizes: another reader might believe them.
        if file_format == "bcif" or error.reason not in ("malformed-cif", "truncated"):
            raise
        try:
            atoms = atoms_with_biotite(data, file_format, models)
        except ParseError:
            raise error from None
        return atoms, EntryInfo(), "biotite"


def _read_document(
    document: CifText | CifTokens | BinaryCif,
    models: Models,
    accept: Accept | None,
    flags: list[str],
) -> tuple[AtomTable, EntryInfo, str]:
    table = document.table("atom_site")
    if not table.n_rows:
        if table.cut:
            raise ParseError("truncated", "the file ends within the first row of its atom table")
        raise NotAStructure("no-atoms", "the file's atom_site table has no rows")
    info = read_entry(document.category, document.name)
    _check_no_excess(info)
    _judge(info.metadata, accept)
    if info.may_look_predicted:
        again = partial(cif_atoms.read_atoms, table, models, every_b_factor=True)
        info = replace(info, read_every_b_factor=again)
    info = replace(info, count_unread=partial(cif_atoms.count_unread, table))
    atoms = cif_atoms.read_atoms(table, models)
    if document.n_blocks_with_wanted > 1:
        flags.append("several_data_blocks")
    if table.cut:
        flags.append("maybe_truncated")
    return atoms, info, table.reader
