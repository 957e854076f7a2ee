"""`Sample`: one protein that was made; `Samples`: all of them, and their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from model.metrics import Structure
from model.output_folder import make_folder, write
from model.sample.measure import measure
from model.sample.structure_file import chains_of, structure_text
from model.sample.tables import SampleRows, save_tables
from model.sample.verdict import verdict
from model.tasks import Output, Problem, Request
from model.tasks.motif_bench import check_files
from pipeline.chain import Chain
from pipeline.commands.command_line import to_yaml
from pipeline.commands.words import several
from pipeline.errors import UsageError
from pipeline.export.chain_ids import Kind
from pipeline.export.fasta import fasta_record
from pipeline.residues import sequence_string

_KINDS: dict[str, Kind] = {".cif": "cif", ".mmcif": "cif", ".pdb": "pdb", ".ent": "pdb"}


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes
    ----------
    problem : Problem
    output : Output
    candidate : int
        Which of ``best_of`` candidates it is, from 0.
    """

    problem: Problem
    output: Output
    candidate: int = 0

    def __repr__(self) -> str:
        size = self.size()
        return f"Sample({self.name}: {self.problem.task}, {size}, {self.told_error})"

    @property
    def name(self) -> str:
        return self.problem.name

    def size(self) -> str:
        """How many residues it has; and of how many, if some could not be made."""
        n, asked = int(self.structure.mask.any(-1).sum()), several(len(self.problem), "residue")
        return asked if n == len(self.problem) else f"{n:,} of {asked}"

    @property
    def structure(self) -> Structure:
        """Positions in Å, masks, types and numbering."""
        return self.output.structure

    @property
    def chains(self) -> list[Chain]:
        """As a reader of its file finds them."""
        return chains_of(self.problem, self.output)

    @property
    def sequences(self) -> dict[str, str]:
        """One-letter sequence of each chain, by its id."""
        return {chain.auth_asym_id: sequence_string(chain.aatype) for chain in self.chains}

    @property
    def predicted_error(self) -> float:
        """Mean predicted error in Å of what was made."""
        return self.output.mean_error(self.problem)

    @property
    def told_error(self) -> str:
        """The predicted error in words."""
        if np.isnan(self.predicted_error):
            return "all is given, and nothing made"
        return f"predicted error {self.predicted_error:.2f} Å"

    def metrics(self) -> dict[str, Any]:
        """What can be measured, as a row of ``metrics.csv``."""
        row = {
            "candidate": self.candidate,
            "predicted_error": self.predicted_error,
            "rotamer_probability": self.output.mean_probability(),
        }
        return self._measures | row | {"verdict": self.verdict}

    def design_scores(self) -> dict[str, str]:
        """``score`` and ``recovery`` of a design, as ProteinMPNN writes them, if any is drawn."""
        if self.problem.task != "design":
            return {}
        scores = {name: self._measures[name] for name in ("score", "recovery")}
        return {name: f"{value:.4f}" for name, value in scores.items() if not np.isnan(value)}

    @property
    def verdict(self) -> str:
        """Why it is no protein, if it does not look like one; else nothing."""
        return verdict(self.problem, self._measures)

    @cached_property
    def _measures(self) -> dict[str, Any]:
        return measure(self.problem, self.output)

    def residues(self) -> list[dict[str, Any]]:
        """How sure the network is of each residue, as rows of ``residues.csv``."""
        structure, output = self.structure, self.output
        rows = []
        for number, labels in enumerate(self.problem.labels):
            of_chain = np.flatnonzero(structure.chain_index == number)
            for k, row in enumerate(of_chain.tolist()):
                if structure.mask[row].any():
                    code = chr(labels.ins_code[k]) if labels.ins_code[k] else ""
                    rows.append(
                        {
                            "name": self.name,
                            "chain": labels.auth_asym_id,
                            "residue": f"{labels.auth_seq_id[k]}{code}",
                            "type": sequence_string(structure.aatype[[row]]),
                            "predicted_error": float(output.predicted_error[row]),
                            "rotamer_probability": float(output.rotamer_probability[row]),
                        }
                    )
        return rows

    def rows(self) -> SampleRows:
        """What tables hold of it."""
        return SampleRows(self.name, "".join(self._records()), self.metrics(), self.residues())

    def _records(self) -> Iterator[str]:
        told = {"task": self.problem.task, **self.design_scores()}
        if not np.isnan(self.predicted_error):
            told["predicted_error"] = f"{self.predicted_error:.2f}"
        title = " ".join(f"{name}={value}" for name, value in told.items())
        # `model.score` puts the chains of a sample together by these two.
        name = "_".join(self.name.split())
        for chain in self.chains:
            ident, sequence = chain.auth_asym_id, sequence_string(chain.aatype)
            of = f"sample={name} chain={ident}"
            yield fasta_record(f"{self.name}_{ident}", f"{title} {of}", sequence)

    def save(self, path: Path | str) -> None:
        """Write one file: mmCIF (.cif, .mmcif) or PDB (.pdb, .ent), by the ending of its name.

        Raises
        ------
        UsageError
            It ends otherwise.
        """
        path = Path(path)
        write(path, structure_text(self.problem, self.output, _kind_of(path))[0])


@dataclass(frozen=True)
class Samples(Sequence[Sample]):
    """Samples in the order in which they were asked for."""

    samples: tuple[Sample, ...]
    request: Request

    def __repr__(self) -> str:
        of = f" of {self.request.input}" if self.request.input else ""
        return f"Samples({several(len(self), 'sample')}: {self.request.task}{of})"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        return self.samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def save(
        self,
        out_dir: Path | str,
        *,
        format: Kind = "cif",
        trajectory: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Write structures, ``sequences.fasta``, two tables and ``options.yaml``.

        Raises
        ------
        UsageError
            Other files than MotifBench reads, where these were asked for.
            There is no such format.
        AlreadyThere
            The folder holds files already, and `overwrite` is not set.
        """
        if format not in get_args(Kind):
            raise UsageError(f"format is one of {', '.join(get_args(Kind))}, found {format!r}")
        out_dir = Path(out_dir)
        if self.request.motifbench:
            check_files(format, trajectory)
        make_folder(out_dir, overwrite)
        for sample in self.samples:
            save_structures(sample, out_dir, format, trajectory)
        rows = [sample.rows() for sample in self.samples]
        save_tables(rows, out_dir, to_yaml(self.request), self.request)


def save_structures(sample: Sample, out_dir: Path, format: Kind, trajectory: bool) -> str:
    """The structure of a sample, and its trajectory if it is wanted.

    Returns
    -------
    str
        A sentence about chains that have other ids in the files than in the sample, or nothing.
    """
    made = sample.problem, sample.output
    text, changed = structure_text(*made, format)
    write(out_dir / f"{sample.name}.{format}", text)
    if trajectory:
        text, _ = structure_text(*made, format, trajectory=True)
        write(out_dir / f"{sample.name}_trajectory.{format}", text)
    return changed


def _kind_of(path: Path) -> Kind:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"{path} should end with {', '.join(_KINDS)}: the ending says what is written"
        )
    return kind
