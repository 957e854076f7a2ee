"""What the command can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.flow.tasks import Task
from model.tasks import TASK_RECORDS
from pipeline.commands.checks import check_at_least
from pipeline.commands.words import dashed
from pipeline.errors import UsageError
from pipeline.files.place import Place


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate a network on held-out chains.

    Parameters
    ----------
    dataset
        Folder that pipeline.build and pipeline.split made.
    out_dir
        Folder for summary.md, summary.json, per_chain.csv, further tables and plots.
    ckpt
        Checkpoint of model.train, or packing or design, the small networks that come with the
        package; without it, design for this task alone, else packing.
    split
        Which chains are evaluated.
    tasks
        What is evaluated; all four by default.
    where
        Only chains that fulfil a condition on columns of the index, such as "length <= 256".
    limit
        Of these, so many, spread evenly; the same for every network.
    embedding
        Name of the embeddings that pipeline.embed made of the dataset, for a network that was
        trained with them.
    steps
        Evaluations of the network for each sample; without it 100, and 2 for packing.
    seed
        Of noise, motifs and bootstrap.
    temperature
        As for model.sample: of residue types, 1 without it; of torsions in packing, 0 without it,
        which takes the likeliest.
    noise_scale
        Of the noise that frames start from, as for model.sample.
    step_noise
        Of the noise that steps bring in, as for model.sample; for the tasks that make frames.
    likelihood_steps
        Design: evaluations of the network for each of the eight orders in which the likelihood of a
        sequence is asked for; what is between is estimated. 0 evaluates every residue.
    batch_size
        Proteins that go through the network together at most.
    baseline_split
        Whose side chains the packing baseline is fitted on: each type gets its most common
        rotamer there.
    novelty_chains
        New proteins are compared with so many chains of that split by TM-align, which takes about
        0.05 s each; 0 leaves it out.
    against
        The per_chain.csv of another evaluation: differences of the same chains, with intervals.
    device
        Where the network runs: cpu, cuda, cuda:1 …; without it, cuda if there is one.
    overwrite
        Replace files of the same names in a folder that is not empty.
    quiet
        Say nothing but what went wrong.
    """

    dataset: Place
    out_dir: Path
    ckpt: Path | None = None
    split: str = "test"
    tasks: list[Task] | None = None
    where: str | None = None
    limit: int | None = None
    embedding: str | None = None
    steps: int | None = None
    seed: int = 0
    temperature: float | None = None
    noise_scale: float | None = None
    step_noise: float | None = None
    likelihood_steps: int = 20
    batch_size: int = 8
    baseline_split: str = "train"
    novelty_chains: int = 100
    against: Path | None = None
    device: str | None = None
    overwrite: bool = False
    quiet: bool = False

    def check(self) -> None:
        """See that numbers make sense.

        Raises
        ------
        UsageError
        """
        check_at_least(self, steps=1, batch_size=1, limit=1)
        for name in (
            "temperature",
            "noise_scale",
            "step_noise",
            "novelty_chains",
            "likelihood_steps",
        ):
            if (getattr(self, name) or 0) < 0:
                raise UsageError(f"{dashed(name)} is not negative")
        if self.step_noise is not None and not any(
            TASK_RECORDS[task].hides_frames for task in self.tasks or TASK_RECORDS
        ):
            raise UsageError("--step-noise is for tasks that make backbones")
        if self.step_noise is not None and self.noise_scale is not None:
            raise UsageError(
                "--step-noise replaces the noise that --noise-scale is for: give one of them"
            )
