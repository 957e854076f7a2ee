"""Structure files → what the sampler starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.metrics import Structure
from pipeline.chain import Chain
from pipeline.errors import UsageError
from pipeline.export.chain_ids import distinct
from pipeline.files.place import Place
from pipeline.parsing import ParsedEntry, ParseError, read_chains
from pipeline.sources import Entry, SourceError, decompress, discover, group_entries, read_source

MAX_BYTES = 1 << 30


class InputError(Exception):
    """An input cannot be read, or is not what the task needs; the sentence names it."""


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
        N, CA and C span a frame.
    auth_seq_id : (L,) int64
    ins_code : (L,) uint8
        ASCII insertion code, 0 = none.
    numbered : (L,) bool
        False where the file gives no author's number, for the residue was not resolved.
    notes : tuple of str
        What somebody should know of how the file was read.
    """

    name: str
    chains: tuple[Chain, ...]
    structure: Structure
    resolved: NDArray[np.bool_]
    auth_seq_id: NDArray[np.int64]
    ins_code: NDArray[np.uint8]
    numbered: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

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
            resolved=np.concatenate([chain.resolved for chain in chains]),
            auth_seq_id=np.concatenate([chain.auth_seq_id for chain in chains]).astype(np.int64),
            ins_code=np.concatenate([chain.ins_code for chain in chains]),
            numbered=np.asarray(structure.mask.any(1)),
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

    def describe(self, row: int | np.integer) -> str:
        """A residue as people call it, such as A45."""
        return f"{self.chain_id(row)}{self.number(row)}"


def read_inputs(
    path: Path, chains: Sequence[str] | None = None
) -> Iterator[tuple[str, InputStructure | InputError]]:
    """Read a structure file, or all those in a folder.

    Parameters
    ----------
    path : Path
    chains : sequence of str, optional
        Their ids; all chains without it.

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
        found = discover(path)
    except SourceError as error:
        raise UsageError(f"--input {path}: {error}") from error
    for problem in found.problems:
        yield problem.name, InputError(problem.message)
    entries = group_entries(found.files)
    if not entries and not found.problems:
        raise UsageError(f"--input {path} holds no files")
    taken: set[str] = set()
    for entry in entries:
        # What qualifies equal stems becomes part of the name: names are those of files, too.
        name = entry.entry_id.replace("/", "_")
        while name in taken:
            name += "_"
        taken.add(name)
        try:
            yield name, _read(entry, name, found.root, chains)
        except InputError as error:
            yield name, error


def _read(entry: Entry, name: str, root: Place, chains: Sequence[str] | None) -> InputStructure:
    """The first file of an entry that can be read; the note of another says why it is not."""
    notes: list[str] = []
    first_error: InputError | None = None
    for rank, source in enumerate(entry.candidates):
        try:
            if source.is_sequential:
                raise InputError(f"{source.name} is in a compressed archive; unpack it first")
            raw = read_source(source, root, MAX_BYTES)
            parsed = read_chains(decompress(raw.data, MAX_BYTES, name=source.name), name)
        except (SourceError, ParseError, InputError) as error:
            sentence = str(error) if source.name in str(error) else f"{source.name}: {error}"
            first_error = first_error or InputError(sentence)
            notes.append(f"not read: {sentence}")
            continue
        if not parsed.chains:
            why = ", ".join(dict.fromkeys(chain.reason for chain in parsed.dropped))
            raise InputError(
                f"{source.name} has no protein chain with a backbone ({why or 'none'})"
            )
        notes += [
            f"not read: {other.name}, for {source.name} is the same entry"
            for other in entry.candidates[rank + 1 :]
        ]
        notes += _remarks(parsed, source.name)
        named, about_ids = _with_own_ids(parsed.chains, source.name)
        notes += about_ids
        if chains is not None:
            named = _chosen(named, chains, source.name)
            notes += [
                f"{source.name}: {ident} is the label_asym_id of chain {chain.auth_asym_id}"
                for ident, chain in zip(chains, named, strict=True)
                if ident != chain.auth_asym_id
            ]
        return InputStructure.of(name, named, notes)
    assert first_error is not None
    raise first_error


def _remarks(parsed: ParsedEntry, name: str) -> list[str]:
    """Sentences about what the reader set aside or doubts, as the records of a build have it."""
    said = []
    flags = [flag for flag in parsed.flags if not flag.startswith("several_chains_of_one_id:")]
    if flags:
        said.append(f"{name}: is read with remarks (docs/parsing.md): {', '.join(flags)}")
    if parsed.dropped:
        chains = ", ".join(f"{c.auth_asym_id} ({c.reason})" for c in parsed.dropped)
        said.append(f"{name}: chains are left out: {chains}")
    if n_modified := sum(chain.n_modified for chain in parsed.chains):
        said.append(f"{name}: modified residues are read as their parents, or X: {n_modified}")
    if n_microhet := sum(chain.n_microhet for chain in parsed.chains):
        said.append(
            f"{name}: residues of several types are read as the one of the chosen conformer: "
            f"{n_microhet}"
        )
    return said


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
            there = " ".join(chain.auth_asym_id for chain in found)
            raise InputError(f"{name} has no chain {ident}; it has {there}")
        if row in rows:
            raise InputError(f"--chains: chain {ident} of {name} is named twice")
        rows.append(row)
    return [found[row] for row in rows]
