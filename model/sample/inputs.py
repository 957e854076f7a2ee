"""Structure files → what the sampler starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import RequestError
from model.metrics import Structure
from pipeline.chain import Chain
from pipeline.parsing import ParseError, read_chains
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
    auth_asym_id : (L,) str
    auth_seq_id : (L,) int64
    numbered : (L,) bool
        False where the file gives no author's number, for the residue was not resolved.
    """

    name: str
    chains: tuple[Chain, ...]
    structure: Structure
    resolved: NDArray[np.bool_]
    auth_asym_id: NDArray[np.str_]
    auth_seq_id: NDArray[np.int64]
    numbered: NDArray[np.bool_]

    @classmethod
    def of(cls, name: str, chains: Sequence[Chain]) -> InputStructure:
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
            auth_asym_id=np.repeat([chain.auth_asym_id for chain in chains], lengths),
            auth_seq_id=np.concatenate([chain.auth_seq_id for chain in chains]).astype(np.int64),
            numbered=np.asarray(structure.mask.any(1)),
        )

    def describe(self, row: int) -> str:
        """A residue as people call it, such as A45."""
        return f"{self.auth_asym_id[row]}{self.auth_seq_id[row]}"


def read_inputs(
    path: Path, chains: Sequence[str] | None = None
) -> Iterator[tuple[str, InputStructure | InputError]]:
    """Read a structure file, or all those in a folder.

    Parameters
    ----------
    path : Path
    chains : sequence of str, optional
        Author's ids; all chains without it.

    Yields
    ------
    name : str
    InputStructure, or why there is none

    Raises
    ------
    RequestError
        There is no such file, or nothing in the folder.
    """
    if not path.exists():
        raise RequestError(f"--input {path} does not exist")
    try:
        found = discover(path)
    except SourceError as error:
        raise RequestError(f"--input {path}: {error}") from error
    entries = group_entries(found.files)
    if not entries:
        raise RequestError(f"--input {path} holds no files")
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


def _read(entry: Entry, name: str, root: Path, chains: Sequence[str] | None) -> InputStructure:
    first_error: InputError | None = None
    for source in entry.candidates:
        try:
            if source.is_sequential:
                raise InputError(f"{source.name} is in a compressed archive; unpack it first")
            raw = read_source(source, root, MAX_BYTES)
            parsed = read_chains(decompress(raw.data, MAX_BYTES, name=source.name), name)
        except (SourceError, ParseError) as error:
            sentence = str(error) if source.name in str(error) else f"{source.name}: {error}"
            first_error = first_error or InputError(sentence)
            continue
        except InputError as error:
            first_error = first_error or error
            continue
        if not parsed.chains:
            why = ", ".join(dict.fromkeys(chain.reason for chain in parsed.dropped))
            raise InputError(
                f"{source.name} has no protein chain with a backbone ({why or 'none'})"
            )
        return InputStructure.of(name, _chosen(parsed.chains, chains, source.name))
    assert first_error is not None
    raise first_error


def _chosen(found: Sequence[Chain], wanted: Sequence[str] | None, name: str) -> list[Chain]:
    if wanted is None:
        return list(found)
    there = list(dict.fromkeys(chain.auth_asym_id for chain in found))
    for ident in wanted:
        if ident not in there:
            raise InputError(f"{name} has no chain {ident}; it has {' '.join(there)}")
    return [chain for ident in wanted for chain in found if chain.auth_asym_id == ident]
