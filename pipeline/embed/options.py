"""What the embedding of a dataset can be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.commands.checks import check_at_least
from pipeline.errors import UsageError
from pipeline.files.place import Place


@dataclass(frozen=True)
class EmbedOptions:
    """Embed every residue of a dataset with a frozen ESM-2.

    Parameters
    ----------
    dataset
        Folder that pipeline.build or pipeline.subset made, or its URI; as the first word, it needs
        no option.
    model
        Name at the Hugging Face hub, such as facebook/esm2_t12_35M_UR50D, or a folder that holds a
        checkpoint.
    name
        The embeddings are called so: DATASET/embeddings/NAME. Without it, the last part of the
        model's name, and the layer if it is not the last.
    layer
        Which hidden states: 0 is the input of the first layer, -1 the output of the last, after the
        final normalisation.
    dtype
        Type of the stored numbers. The model computes in float32.
    where
        Embed only the chains that fulfil a condition on columns of the index and the splits, such
        as "length <= 512 and split = 'train'".
    max_length
        Longer sequences are embedded in overlapping windows of so many residues; 0 is the length
        that the model was trained with, 1,022 for ESM-2.
    batch_residues
        Residues in a batch, padding included. More are faster on a GPU and take more memory.
    device
        Such as cpu, cuda or cuda:1; auto is a GPU if there is one.
    overwrite
        Replace embeddings of this name that another model or other options made.
    quiet
        No progress, only the summary.
    """

    dataset: Place
    model: str
    name: str | None = None
    layer: int = -1
    dtype: Literal["float16", "float32"] = "float16"
    where: str | None = None
    max_length: int = 0
    batch_residues: int = 8192
    device: str = "auto"
    overwrite: bool = False
    quiet: bool = False

    def check(self) -> None:
        """See that the options make sense.

        Raises
        ------
        UsageError
        """
        check_at_least(self, batch_residues=1)
        if self.max_length < 0 or 0 < self.max_length < 8:
            raise UsageError("--max-length must be at least 8, or 0 for the model's own length")
        if self.name is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", self.name):
            raise UsageError(
                f"--name {self.name}: give a word of letters, digits, _ . + and -, for it becomes "
                "the name of a folder"
            )

    def name_of(self, n_layers: int, layer: int) -> str:
        """What the embeddings are called."""
        if self.name is not None:
            return self.name
        last = Path(self.model).resolve().name if Path(self.model).is_dir() else self.model
        stem = re.sub(r"[^A-Za-z0-9_.+-]+", "_", last.rstrip("/").rpartition("/")[2]).lstrip(".-+")
        return (stem or "esm") + ("" if layer == n_layers else f"-layer{layer}")
