"""Structure files → what the sampler starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.flow.clean import BACKBONE_REACH
from model.metrics import Structure
from pipeline.chain import Chain
from pipeline.commands.words import several
from pipeline.errors import UsageError
from pipeline.export.chain_ids import distinct
from pipeline.export.others import other_residues
from pipeline.files.place import Place
from pipeline.interfaces.measure import ATOM_DISTANCE
from pipeline.parsing import NotAStructure, ParsedEntry, ParseError, read_chains
from pipeline.parsing.atom_table import AtomTable, ChainAtoms
from pipeline.parsing.entry_info import Connection
from pipeline.report.reasons import meaning
from pipeline.sources import (
    HEAD_BYTES,
    Entry,
    RawFile,
    SequentialArchive,
    SourceError,
    SourceFile,
    decompress,
    discover,
    group_entries,
    read_source,
    sniff,
)

MAX_BYTES = 1 << 30

LIST_SUFFIXES = (".txt", ".list")

BLANK_ID = "_"
"""What a chain is called that has no id in its PDB file."""

_SHOWN = 8
"""Names of ligands that a sentence lists."""


_NO_RESIDUES = (
    "none of its residues is called an amino acid, or has atoms called N, CA and C, in capitals"
)
_LATER = "chains_of_later_models:"
_JOIN = {
    "pdb": "take out the MODEL and ENDMDL lines between them",
    "cif": "give all atoms one _atom_site.pdbx_PDB_model_num",
}


Read: TypeAlias = Callable[[bytes, str], ParsedEntry]
"""Bytes and name of a file → its chains."""


class InputError(Exception):
    """An input cannot be read, or is not what the task needs; the sentence names it."""


class NoStructure(InputError):
    """What a folder, tar or list holds beside structures: skipped, and no failure."""


def failures(errors: Sequence[InputError], found: int) -> list[InputError]:
    """What is not only skipped; all, where none of the inputs is used."""
    return [error for error in errors if not (found and isinstance(error, NoStructure))]


@dataclass(frozen=True)
class InputStructure:
    """The chains of one file, one behind the other; L residues.

    Attributes
    ----------
    name : str
        The file's stem.
    chains : tuple of Chain
    structure : Structure
    resolved : (L,) bool
        N, CA and C span a frame, and are near each other.
    auth_seq_id : (L,) int64
    ins_code : (L,) uint8
        ASCII insertion code, 0 = none.
    numbered : (L,) bool
        False where the file gives no author's number, for it has no atom of the residue.
    notes : tuple of str
        What somebody should know of how the file was read.
    file : str
        What notes call it.
    others : AtomTable or None
        Atoms of ligands, metals, sugars and nucleic acids, if they were asked for.
    own : tuple of ChainAtoms
        With them, the atoms of each chain as the file has them.
    connections : tuple of Connection
        With them, the bonds that the file lists.
    left_out : tuple of str
        With them, what comes back in no case, with numbers.
    """

    name: str
    chains: tuple[Chain, ...]
    structure: Structure
    resolved: NDArray[np.bool_]
    auth_seq_id: NDArray[np.int64]
    ins_code: NDArray[np.uint8]
    numbered: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    file: str = ""
    others: AtomTable | None = None
    own: tuple[ChainAtoms, ...] = ()
    connections: tuple[Connection, ...] = ()
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, chains: Sequence[Chain], notes: Sequence[str] = ()) -> InputStructure:
        parts = [Structure.from_chain(chain) for chain in chains]
        lengths = [len(chain) for chain in chains]
        structure = Structure(
            positions=np.concatenate([part.positions for part in parts]),
            mask=np.concatenate([part.mask for part in parts]),
            aatype=np.concatenate([part.aatype for part in parts]),
            residue_index=np.concatenate([part.residue_index for part in parts]),
            chain_index=np.repeat(np.arange(len(parts)), lengths),
        )
        return cls(
            name=name,
            chains=tuple(chains),
            structure=structure,
            resolved=np.concatenate([chain.resolved for chain in chains]) & ~is_torn(structure),
            auth_seq_id=np.concatenate([chain.auth_seq_id for chain in chains]).astype(np.int64),
            ins_code=np.concatenate([chain.ins_code for chain in chains]),
            # One whose atoms have no occupancy, or no coordinates, has its number all the same.
            numbered=structure.mask.any(1)
            | np.concatenate([chain.auth_seq_id != 0 for chain in chains]),
            notes=tuple(notes),
        )

    @property
    def chain_ids(self) -> list[str]:
        """What each chain is called: its author's id, or with a number if another has it, too."""
        return [chain.auth_asym_id for chain in self.chains]

    def find_chain(self, ident: str) -> int | None:
        """The chain that is called so; if none is, the one with this ``label_asym_id``."""
        return _find(self.chains, ident)

    def chain_id(self, row: int | np.integer) -> str:
        """The id of a residue's chain."""
        return self.chains[int(self.structure.chain_index[row])].auth_asym_id

    def number(self, row: int | np.integer) -> str:
        """Number and insertion code of a residue, such as 45 or 52A."""
        code = int(self.ins_code[row])
        return f"{self.auth_seq_id[row]}{chr(code) if code else ''}"

    @cached_property
    def comp_ids(self) -> list[str]:
        """(L,) Names that the residues have in the file; empty where they are not known."""
        starts = np.searchsorted(self.structure.chain_index, np.arange(len(self.own))).tolist()
        named = [""] * len(self.structure)
        for start, own in zip(starts, self.own, strict=True):
            # Of several types that a residue is told to be, that of the atoms that are read.
            order = np.lexsort((~own.in_slot, own.row))[::-1]
            comps = own.atoms.comp_id[order].astype("U").tolist()
            for row, comp in zip(own.row[order].tolist(), comps, strict=True):
                named[start + row] = comp
        return named

    @property
    def beside(self) -> str:
        """Names of what is beside the protein, with how often they are there."""
        return "" if self.others is None else _counted(self.others)

    @property
    def is_nameless(self) -> NDArray[np.bool_]:
        """(L,) Residues whose name says nothing, or is not known."""
        return np.isin(self.comp_ids, ["", "UNK"])

    def describe(self, row: int | np.integer) -> str:
        """A residue as people call it, such as A45."""
        return f"{self.chain_id(row)}{self.number(row)}"


def read_inputs(
    path: Path, chains: Sequence[str] | None = None, read: Read = read_chains
) -> Iterator[tuple[str, InputStructure | InputError]]:
    """Read a structure file, or all those of a folder, a tar or a list.

    Parameters
    ----------
    path : Path
        A list is a text file that ends in .txt or .list and is no structure: a path in each line,
        relative to the list.
    chains : sequence of str, optional
        Their ids; all chains without it.
    read : callable
        `read_chains`, with options or without.

    Yields
    ------
    name : str
    InputStructure, or why there is none

    Raises
    ------
    UsageError
        There is no such file, or nothing in the folder.
    """
    if not path.exists():
        raise UsageError(f"--input {path} does not exist")
    try:
        found = discover(None, path) if _is_list(path) else discover(path)
    except (SourceError, OSError) as error:
        raise UsageError(f"--input {path}: {error}") from error
    for problem in found.problems:
        yield problem.name, InputError(problem.message)
    for hidden in found.hidden:
        yield (
            hidden,
            NoStructure(f"{hidden}: hidden, an editor's file or a copy; name it to read it"),
        )
    entries = group_entries(found.files)
    if not (entries or found.problems or found.hidden):
        raise UsageError(f"--input {path} holds no files")
    attempts: list[_Attempt] = []
    taken: set[str] = set()
    for entry in entries:
        # What qualifies equal stems becomes part of the name: names are those of files, too.
        name = entry.entry_id.replace("/", "_")
        while name in taken:
            name += "_"
        taken.add(name)
        attempts.append(_Attempt(name, entry, chains, read))
    for attempt in attempts:
        while not attempt.in_stream and attempt.found is None:
            attempt.take(_read(attempt.source, found.root))
        if attempt.found is not None:
            yield attempt.name, attempt.found
    # Members of a compressed tar are reached by unpacking it from its start: one pass for the
    # preferred files, and another where some of those could not be read.
    left = [attempt for attempt in attempts if attempt.in_stream]
    while left:
        by_source = {attempt.source: attempt for attempt in left}
        for source, raw in SequentialArchive(list(by_source), found.root, MAX_BYTES):
            attempt = by_source[source]
            attempt.take(raw)
            if attempt.found is not None:
                yield attempt.name, attempt.found
        left = [attempt for attempt in left if attempt.found is None]


def _is_list(path: Path) -> bool:
    if path.suffix.lower() not in LIST_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES)) is None


def _read(source: SourceFile, root: Place) -> RawFile | SourceError:
    try:
        return read_source(source, root, MAX_BYTES)
    except SourceError as error:
        return error


class _Attempt:
    """One entry on its way: its files are tried in turn, and notes say why those before are not
    read.

    Parameters
    ----------
    name : str
    entry : Entry
    chains : sequence of str or None
    read : callable

    Attributes
    ----------
    found : InputStructure or InputError or None
        What it has come to.
    """

    def __init__(self, name: str, entry: Entry, chains: Sequence[str] | None, read: Read):
        self.name = name
        self.found: InputStructure | InputError | None = None
        self._entry, self._chains, self._rank = entry, chains, 0
        self._read = read
        self._notes: list[str] = []
        self._first_error: InputError | None = None

    @property
    def source(self) -> SourceFile:
        """The file that is to be read."""
        return self._entry.candidates[self._rank]

    @property
    def in_stream(self) -> bool:
        return self.source.is_sequential

    def take(self, raw: RawFile | SourceError) -> None:
        """The bytes of `source`, or why there are none."""
        name = self.source.name
        try:
            if isinstance(raw, SourceError):
                raise raw
            data = decompress(raw.data, MAX_BYTES, name=name)
            parsed = self._read(data, self.name)
        except (SourceError, ParseError) as error:
            sentence = str(error) if name in str(error) else f"{name}: {error}"
            # What is called a structure, and is none, has gone wrong.
            other = isinstance(error, NotAStructure) and self.source.suffix_format is None
            kind = NoStructure if other else InputError
            self._first_error = self._first_error or kind(sentence)
            self._notes.append(f"not read: {sentence}")
            if self._rank + 1 == len(self._entry.candidates):
                self.found = self._first_error
            else:
                self._rank += 1
            return
        try:
            self.found = self._structure(parsed)
        except InputError as error:
            self.found = error

    def _structure(self, parsed: ParsedEntry) -> InputStructure:
        name, chains = self.source.name, self._chains
        if not parsed.chains:
            why = ", ".join(meaning(r) for r in dict.fromkeys(c.reason for c in parsed.dropped))
            raise InputError(f"{name} has no protein chain with a backbone: {why or _NO_RESIDUES}")
        notes = self._notes + [
            f"not read: {other.name}, for {name} is the same entry"
            for other in self._entry.candidates[self._rank + 1 :]
        ]
        notes += _remarks(parsed, name)
        named, about_ids = _with_own_ids(parsed.chains, name)
        notes += about_ids
        others, own = parsed.others, parsed.of_chains
        if chains is not None:
            place = {chain.uid: k for k, chain in enumerate(named)}
            every, wanted = named, _separated(chains, named)
            named = _chosen(named, wanted, name)
            notes += _left_beside(named, every, name)
            notes += [
                f"{name}: {ident} is the label_asym_id of chain {chain.auth_asym_id}"
                for ident, chain in zip(wanted, named, strict=True)
                if ident != chain.auth_asym_id
            ]
            places = [place[chain.uid] for chain in named]
            if others is not None:
                own = [own[k] for k in places]
                mine = [parsed.chains[k].auth_asym_id for k in places]
                others, left = _of_chains(others, mine)
                notes += [f"{name}: beside other chains, and left out: {left}"] if left else []
        structure = InputStructure.of(self.name, named)
        if others is None:
            return replace(structure, notes=tuple(notes))
        structure = replace(
            structure,
            notes=tuple(notes),
            file=name,
            others=others,
            own=tuple(own),
            connections=parsed.connections,
            left_out=_left_out(parsed),
        )
        known = np.array([comp != "" for comp in structure.comp_ids], bool)
        return replace(structure, numbered=structure.numbered | known)


def is_torn(structure: Structure) -> NDArray[np.bool_]:
    """(L,) N or C is too far from CA to be the residue's; the flow makes nothing there."""
    x = structure.positions
    far = np.linalg.norm(x[:, [0, 2]] - x[:, 1:2], axis=-1) > BACKBONE_REACH
    return np.asarray((far & structure.mask[:, [0, 2]]).any(1) & structure.mask[:, 1])


def _remarks(parsed: ParsedEntry, name: str) -> list[str]:
    """Sentences about what the reader set aside or doubts, as the records of a build have it."""
    said = []
    told = ("several_chains_of_one_id:", _LATER)
    flags = [flag for flag in parsed.flags if not flag.startswith(told)]
    if flags:
        said.append(f"{name}: is read with remarks (docs/parsing.md): {', '.join(flags)}")
    said += [
        f"{name}: not read: {flag.removeprefix(_LATER)}, in later models than the first. If all "
        f"models are one complex, {_JOIN.get(parsed.format, _JOIN['cif'])}"
        for flag in parsed.flags
        if flag.startswith(_LATER)
    ]
    if parsed.dropped:
        chains = ", ".join(f"{c.auth_asym_id} ({c.reason})" for c in parsed.dropped)
        said.append(f"{name}: chains are left out: {chains}")
    if parsed.n_ends and parsed.others is None:  # else the task tells it
        ends = several(parsed.n_ends, "residue")
        said.append(f"{name}: left out at the ends of chains, without a backbone: {ends}")
    n_modified = sum(chain.n_modified for chain in parsed.chains)
    if n_modified and parsed.others is None:
        said.append(f"{name}: modified residues are read as their parents, or X: {n_modified}")
    if n_microhet := sum(chain.n_microhet for chain in parsed.chains):
        said.append(
            f"{name}: residues of several types are read as the one of the chosen conformer: "
            f"{n_microhet}"
        )
    return said


def _left_out(parsed: ParsedEntry) -> tuple[str, ...]:
    counts = {"water": parsed.metadata.n_waters, "hydrogen": parsed.n_hydrogens, **parsed.unread}
    counted = [several(number, word) for word, number in counts.items() if number]
    if parsed.n_ends:
        ends = several(parsed.n_ends, "residue")
        counted.append(f"{ends} at the ends of chains without a backbone")
    return tuple(counted)


def _of_chains(others: AtomTable, authors: Sequence[str]) -> tuple[AtomTable, str]:
    """The atoms that are the author's of some chains, and what the others are."""
    mine = np.isin(np.char.decode(others.auth_asym_id, "utf-8", "replace"), authors)
    return others.select(mine), _counted(others.select(~mine))


def _counted(others: AtomTable) -> str:
    """Names of residues with how often they are there, such as "HEM ×2, ZN"."""
    residues = other_residues(others)
    numbers = Counter(residue.comp_id for residue in residues)
    shown = [f"{comp} ×{n}" if n > 1 else comp for comp, n in numbers.most_common(_SHOWN)]
    more = len(numbers) - _SHOWN
    return ", ".join(shown) + (f" and {more} other kinds" if more > 0 else "")


def _with_own_ids(found: Sequence[Chain], name: str) -> tuple[list[Chain], list[str]]:
    """The chains, each with an author's id of its own, and sentences about those that had none."""
    ids = distinct([chain.auth_asym_id for chain in found])
    alike: dict[str, list[str]] = {}
    for chain, ident in zip(found, ids, strict=True):
        alike.setdefault(chain.auth_asym_id, []).append(ident)
    notes = [
        f"{name}: {len(those)} chains have the id {ident}: {ident} is the first, and the next "
        f"{'are' if len(those) > 2 else 'is'} {', '.join(those[1:])}, here and in what is written"
        for ident, those in alike.items()
        if len(those) > 1
    ]
    chains = [
        chain if chain.auth_asym_id == ident else replace(chain, auth_asym_id=ident)
        for chain, ident in zip(found, ids, strict=True)
    ]
    return chains, notes


def told_ids(ids: Sequence[str]) -> str:
    """Ids of chains as people write them: a PDB file may have none."""
    blank = " (the file has no chain id there: write _)" if BLANK_ID in ids else ""
    return " ".join(ids) + blank


def _separated(wanted: Sequence[str], found: Sequence[Chain]) -> list[str]:
    """Ids that are separated by commas, too; an id may have one."""
    return [
        ident
        for word in wanted
        for ident in ([word] if _find(found, word) is not None else word.split(","))
        if ident
    ]


def _left_beside(kept: Sequence[Chain], every: Sequence[Chain], name: str) -> list[str]:
    """A sentence about chains that are not read and touch those that are."""
    from scipy.spatial import cKDTree

    mine = {chain.uid for chain in kept}
    near = cKDTree(np.concatenate([chain.coords for chain in kept]))
    touching = [
        chain.auth_asym_id
        for chain in every
        if chain.uid not in mine
        and np.isfinite(near.query(chain.coords, distance_upper_bound=ATOM_DISTANCE)[0]).any()
    ]
    if not touching:
        return []
    which = several(len(touching), "chain")
    return [
        f"{name}: --chains leaves out {which} within {ATOM_DISTANCE / 1000:g} Å of those that are "
        f"read, and the network does not see what is left out: {' '.join(touching)}"
    ]


def _find(chains: Sequence[Chain], ident: str) -> int | None:
    for ids in (
        [chain.auth_asym_id for chain in chains],
        [chain.label_asym_id for chain in chains],
    ):
        if ident in ids:
            return ids.index(ident)
    return None


def _chosen(found: Sequence[Chain], wanted: Sequence[str], name: str) -> list[Chain]:
    rows = []
    for ident in wanted:
        row = _find(found, ident)
        if row is None:
            there = told_ids([chain.auth_asym_id for chain in found])
            raise InputError(f"{name} has no chain {ident}; it has {there}")
        if row in rows:
            raise InputError(f"--chains: chain {ident} of {name} is named twice")
        rows.append(row)
    return [found[row] for row in rows]
