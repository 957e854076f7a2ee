"""What the command can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.flow.tasks import Task
from pipeline.errors import UsageError
from pipeline.files.place import Place


@dataclass(frozen=True)
class VisualizeOptions:
    """Look at the attention of a network.

    Parameters
    ----------
    dataset
        Folder that pipeline.build made.
    chain
        Which chain of it, by its chain_uid, such as 1ubi_1_A.
    out_dir
        Folder for three PNGs per layer and head.
    ckpt
        Checkpoint of model.train, or packing or design, the small networks that come with the
        package; without it, the one for the task.
    task
        What the network is given: packing hides side chains, design types too, inpainting all but a
        motif, unconditional everything.
    time
        Of what is hidden: 0 is noise, 1 the clean protein.
    layers
        Numbers of layers, from 0; all by default.
    heads
        Numbers of heads, from 0; the first one by default.
    seed
        Of noise and motif.
    embedding
        Name of the embeddings that pipeline.embed made of the dataset, for a network that was
        trained with them.
    device
        Where the network runs: cpu, cuda, cuda:1 …; without it, cuda if there is one.
    overwrite
        Replace files of the same names in a folder that is not empty.
    quiet
        Say nothing but what went wrong.
    """

    dataset: Place
    chain: str
    out_dir: Path
    ckpt: Path | None = None
    task: Task = "packing"
    time: float = 0.5
    layers: list[int] | None = None
    heads: list[int] | None = None
    seed: int = 0
    embedding: str | None = None
    device: str | None = None
    overwrite: bool = False
    quiet: bool = False

    def check(self) -> None:
        """See that the time is one.

        Raises
        ------
        UsageError
        """
        if not 0 <= self.time <= 1:
            raise UsageError(f"--time is from 0 (noise) to 1 (clean), found {self.time}")
