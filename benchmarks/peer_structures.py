"""What another packer is given of a chain, and what it made of it, as mmCIF files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer_process import run_script

from model.metrics import Structure
from model.sample.structure_file import chains_of
from model.tasks import Output, Problem
from pipeline.chain import EntryMetadata
from pipeline.export.mmcif import mmcif_text
from pipeline.files.atomic import appears_whole
from pipeline.parsing import NotAStructure, read_chains
from pipeline.residues import SLOT_OF_NAME, sequence_string
from pipeline.seeded import seed_bytes

SCRIPT = Path(__file__).with_name("ligandmpnn_packer.py")
RECORD = "packed.json"
"""Who packed the structures of a folder, what, how, and the seconds that each took."""

ROUNDED = 0.002
"""Å that a backbone in a file may be off."""


@dataclass(frozen=True)
class Packed:
    """Structures by a packer, in the order of the chains, and the seconds of the process."""

    name: str
    structures: list[Structure]
    seconds: float


def peer_input(chain: Structure, uid: str, seed: int = 0) -> dict[str, NDArray[Any]]:
    """All that another packer is told of a chain: its backbone, its types and its numbering.

    Parameters
    ----------
    chain : Structure
        Atoms beyond O are not read.
    uid : str
        Of the chain; draws are a function of it and of `seed`.
    seed : int

    Returns
    -------
    dict
        ``rows`` (R,) of the residues that have a CA, which are those that a reader of structure
        files finds; of each ``backbone`` (R, 4, 3) float32 (N, CA, C, O; zeros where absent),
        ``mask`` (R,) whether it has all four, ``residue_index`` and ``chain_index``; ``sequence``,
        a string; ``seed``.
    """
    rows = np.flatnonzero(chain.has_ca)
    there = chain.mask[rows, :4]
    return {
        "rows": rows,
        "backbone": np.where(there[..., None], chain.positions[rows, :4], 0).astype(np.float32),
        "mask": there.all(axis=1),
        "residue_index": chain.residue_index[rows],
        "chain_index": chain.chain_index[rows],
        "sequence": np.array(sequence_string(chain.aatype[rows])),
        "seed": np.array(int.from_bytes(seed_bytes("peer", seed, uid, size=4), "little")),
    }


def with_side_chains(
    chain: Structure, rows: NDArray[np.int64], positions: NDArray[Any], names: NDArray[Any]
) -> Structure:
    """The chain with side chains of another packer, atoms by their names, on its own backbone.

    Parameters
    ----------
    chain : Structure
    rows : (R,) int
        Its residues.
    positions : (R, 14, 3) float
        Å, in any order.
    names : (R, 14) str
        Of the atoms; "" where there is none.
    """
    x, mask = chain.positions.copy(), chain.mask & (np.arange(14) < 4)
    for row, points, of_points in zip(rows, positions, names, strict=True):
        slots = SLOT_OF_NAME[chain.aatype[row]]
        for name, point in zip(of_points, points, strict=True):
            slot = slots.get(str(name), 0)
            if slot > 3:
                x[row, slot], mask[row, slot] = np.round(np.float64(point), 3), True
    return chain.with_atoms(np.where(mask[..., None], x, 0.0), mask)


def write_structure(path: Path, problem: Problem, made: Structure, packer: str) -> None:
    """One chain as mmCIF."""
    nothing = np.zeros(len(made))
    output = Output(made, nothing, nothing, None, nothing.astype(bool), [])
    about = EntryMetadata(
        method="THEORETICAL MODEL", title=f"{problem.name}, side chains by {packer}"
    )
    chains = [
        # Readers number residues without a sequence of the entity as the author does.
        replace(chain, metadata=about, entity_sequence=None, auth_seq_id=chain.residue_index)
        for chain in chains_of(problem, output)
    ]
    with appears_whole(path, path.parent) as temporary:
        temporary.write_text(mmcif_text(chains, comment=f"side chains by {packer}"))


def read_structure(path: Path, chain: Structure) -> Structure:
    """The chain with the side chains of a file.

    Raises
    ------
    SystemExit
        The file cannot be read, or is of other residues or another backbone.
    """
    try:
        found = [Structure.from_chain(c) for c in read_chains(path.read_bytes(), path.name).chains]
    except (OSError, NotAStructure) as error:
        raise SystemExit(f"error: {path} cannot be read: {error}") from None
    mismatch = SystemExit(
        f"error: {path} holds other residues than the dataset's chain of this name: give "
        "--peer-structures a folder that was made of this dataset, or an empty one"
    )
    if len(found) != 1:
        raise mismatch
    made = found[0]
    rows = np.searchsorted(chain.residue_index, made.residue_index).clip(max=len(chain) - 1)
    same = (chain.residue_index[rows] == made.residue_index) & (chain.aatype[rows] == made.aatype)
    backbone = chain.mask[rows, :4] & made.mask[:, :4]
    apart = np.abs(chain.positions[rows, :4] - made.positions[:, :4]).max(axis=-1)
    complete = chain.has_ca.sum() == made.has_ca.sum()
    if not (same.all() and complete and (apart[backbone] <= ROUNDED).all()):
        raise mismatch
    x, mask = chain.positions.copy(), chain.mask & (np.arange(14) < 4)
    x[rows, 4:], mask[rows, 4:] = made.positions[:, 4:], made.mask[:, 4:]
    return chain.with_atoms(np.where(mask[..., None], x, 0.0), mask)


# ---- LigandMPNN's packer ------------------------------------------------------------------------


@dataclass(frozen=True)
class Store:
    """A folder of structures by another packer.

    Attributes
    ----------
    folder : Path
    packer : str
        Its name.
    dataset : str
        Digest of the dataset whose chains they are.
    seconds : dict
        Name of a chain → seconds of the process that its packing took.
    """

    folder: Path
    packer: str
    dataset: str
    seconds: dict[str, float]

    @classmethod
    def opened(cls, folder: Path, packer: str, dataset: str) -> Store:
        """What is there; nothing, if there is no folder yet.

        Raises
        ------
        SystemExit
            It is of another dataset, or holds something else.
        """
        record = folder / RECORD
        if not record.is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise SystemExit(
                    f"error: {folder} is not empty and has no {RECORD}: give --peer-structures "
                    "a folder that this script made, or one that is not there yet"
                )
            return cls(folder, packer, dataset, {})
        try:
            kept = json.loads(record.read_text(encoding="utf-8"))
            store = cls(folder, kept["packer"], kept["dataset"], kept["seconds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"error: {record} cannot be read: {error!r}") from None
        if store.dataset != dataset:
            raise SystemExit(
                f"error: the structures in {folder} are of dataset {store.dataset[:12]}, and this "
                f"is {dataset[:12]}: give --peer-structures another folder"
            )
        return store

    def path_of(self, uid: str) -> Path:
        return self.folder / f"{uid}.cif"

    def keep(self, problem: Problem, made: Structure, seconds: float) -> None:
        """A structure, and then its time: without the time it is made again."""
        if not (self.folder / RECORD).is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_record()
        path = self.path_of(problem.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_structure(path, problem, made, self.packer)
        self.seconds[problem.name] = round(seconds, 4)
        self._write_record()

    def _write_record(self) -> None:
        about = {"packer": self.packer, "dataset": self.dataset, "seconds": self.seconds}
        with appears_whole(self.folder / RECORD, self.folder) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def read(self, chains: Mapping[str, Structure]) -> Packed:
        """Structures of these chains, all of which are there."""
        made = [read_structure(self.path_of(uid), chain) for uid, chain in chains.items()]
        return Packed(self.packer, made, sum(self.seconds[uid] for uid in chains))


def run_peer(
    python: Path,
    problems: Iterable[Problem],
    finished: Callable[[Problem, Structure, float], None],
) -> None:
    """Pack chains by the packer of another environment, one after another.

    Parameters
    ----------
    python : Path
        Of an environment with the packer.
    problems : iterable of Problem
    finished : callable
        Told of each chain, its structure and the seconds that it took, as soon as it is there.

    Raises
    ------
    SystemExit
        The packer ends with an error.
    """
    named = {problem.name: problem for problem in problems}
    told = {name: peer_input(problem.given, name) for name, problem in named.items()}

    def made(name: str, found: Mapping[str, NDArray[Any]], seconds: float) -> None:
        problem, rows = named[name], told[name]["rows"]
        packed = with_side_chains(problem.given, rows, found["positions"], found["names"])
        finished(problem, packed, seconds)

    run_script(python, SCRIPT, told, made)
