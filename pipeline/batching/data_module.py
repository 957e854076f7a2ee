"""`ProteinDataModule`: a built dataset as PyTorch Lightning wants it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from pipeline.batching.collate import collate
from pipeline.batching.lightning_loaders import FixedLoader, TrainLoader, leave_interrupts
from pipeline.batching.sampler import LengthBatchSampler, OtherInputs
from pipeline.batching.training_items import (
    CropKind,
    MixedDataset,
    TrainingItems,
    crop_of,
    drawn_from,
    options_fit,
    rest_of,
    training_items,
)
from pipeline.dataset import AlphaFold3Weights, CropShares, ShardDataset
from pipeline.dataset.crops import Crop
from pipeline.selection.fields import DEFAULT_FIELDS, OF_CHAINS

_log = logging.getLogger(__name__)


class ProteinDataModule(LightningDataModule):
    """Training, validation and test batches of a dataset that `pipeline.build` made.

    Training batches are those of a `LengthBatchSampler`, shuffled anew every epoch and dealt to the
    ranks of the trainer. A checkpoint of Lightning, taken anywhere in an epoch, holds where they
    are; `Trainer.fit(ckpt_path=…)` continues with the next batch, at any number of workers.
    Validation and test batches are the same in every epoch, every chosen item once.

    Parameters
    ----------
    path : str
        The build's output folder, or its URI.
    train_split, val_split, test_split : str, optional
        Names in ``splits.parquet``; null for a dataset without splits.
    train_where, val_where, test_where : str, optional
        Conditions as in ``where``, instead of splits or besides. With neither a split nor a
        condition there is no validation (or test), and training is on everything.
    where, entry_where : str, optional
        Conditions for all three; see `ShardDataset`.
    columns : list of str, optional
        What items hold; see `ShardDataset`.
    unit : {"chain", "entry"}
        What an item is.
    cache : {"mmap", "memory"}, optional
        See `ShardDataset`. Batches by length are random access, which is slow with null.
    cache_dir : str, optional
        For ``"mmap"``.
    crop_size : int, optional
        Longer items are cropped to so many residues: in training anew every epoch, otherwise always
        alike.
    crop : {"contiguous", "spatial", "interface", "mixed"}
        How: windows of the chains, the neighbours of a residue, those of a pair of residues in
        contact between two chains, or each of these as often as `crop_shares` says.
    crop_shares : CropShares
        For ``"mixed"``.
    labels : str, optional
        Parquet or CSV file of labels by ``chain_uid``.
    missing_labels : {"error", "drop"}
        What becomes of items without a label.
    embedding : str, optional
        Name of embeddings that `pipeline.embed` made; see `ShardDataset`.
    transform : callable, optional
        item → item, applied last.
    per_residue : list of str, optional
        Keys that labels or `transform` add and that have one row per residue.
    budget : int
        Residues² of a padded batch: batch size × longest².
    max_batch_size : int, optional
        Items of a batch.
    oversized : {"alone", "raise", "drop"}
        Training items that exceed the budget alone. In validation and test they are always batches
        of their own.
    length_noise : float
        See `LengthBatchSampler`; training only.
    clusters : str, optional
        Column of the index or of the splits, such as ``cluster``: one training item of every
        cluster in an epoch. With ``weights="alphafold3"`` the clusters whose sizes weigh.
    weights : str, optional
        Column of numbers; see `LengthBatchSampler`. Or ``"alphafold3"``, with ``unit="entry"``: a
        training item is a chain or an interface in its entry, drawn by `AlphaFold3Weights`.
    alphafold3 : AlphaFold3Weights
        For ``weights="alphafold3"``.
    samples_per_epoch : int, optional
        See `LengthBatchSampler`.
    mixture : list of MixedDataset, optional
        Further datasets that training samples are drawn from, each with its probability; this one
        is drawn otherwise. What they do not say is as it is here.
    num_workers : int
        Worker processes of each loader.
    pin_memory : bool, optional
        By default where there is an accelerator.
    persistent_workers : bool
        Keep workers from epoch to epoch.
    prefetch_factor : int, optional
        Batches that each worker reads ahead.
    multiprocessing_context : {"fork", "spawn", "forkserver"}, optional
        How workers start.
    seed : int
        Of batches and crops.

    Notes
    -----
    It sets ``Trainer.reload_dataloaders_every_n_epochs`` to 1: epochs differ in their number of
    batches, which Lightning would otherwise ask for once. The loaders themselves are kept.
    With ``overfit_batches`` the training batches are the same in every epoch.
    """

    def __init__(
        self,
        path: str,
        *,
        train_split: str | None = "train",
        val_split: str | None = "val",
        test_split: str | None = "test",
        train_where: str | None = None,
        val_where: str | None = None,
        test_where: str | None = None,
        where: str | None = None,
        entry_where: str | None = None,
        columns: list[str] | None = None,
        unit: Literal["chain", "entry"] = "chain",
        cache: Literal["mmap", "memory"] | None = "mmap",
        cache_dir: str | None = None,
        crop_size: int | None = None,
        crop: CropKind = "contiguous",
        crop_shares: CropShares = CropShares(),  # noqa: B008 - frozen
        labels: str | None = None,
        missing_labels: Literal["error", "drop"] = "error",
        embedding: str | None = None,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        per_residue: list[str] | None = None,
        budget: int = 500_000,
        max_batch_size: int | None = 64,
        oversized: Literal["alone", "raise", "drop"] = "alone",
        length_noise: float = 0.1,
        clusters: str | None = None,
        weights: str | None = None,
        alphafold3: AlphaFold3Weights = AlphaFold3Weights(),  # noqa: B008
        samples_per_epoch: int | None = None,
        mixture: list[MixedDataset] | None = None,
        num_workers: int = 4,
        pin_memory: bool | None = None,
        persistent_workers: bool = True,
        prefetch_factor: int | None = None,
        multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.path = path
        self._chosen = {
            "train": (train_split, train_where),
            "val": (val_split, val_where),
            "test": (test_split, test_where),
        }
        self._where = where
        self._crop, self._crop_shares = (crop, crop_size), crop_shares
        self._mixture = tuple(mixture or ())
        units = {unit, *(other.unit or unit for other in self._mixture)}
        if columns is None and units == {"chain", "entry"}:
            columns = list(dict.fromkeys((*DEFAULT_FIELDS, *OF_CHAINS)))
        with options_fit():
            first_crop = crop_of(crop, crop_size, crop_shares)
            self._probability = rest_of(self._mixture)
        self._dataset_options: dict[str, Any] = {
            "entry_where": entry_where,
            "columns": columns,
            "unit": unit,
            "cache": cache,
            "cache_dir": cache_dir,
            "crop": first_crop,
            "labels": labels,
            "missing_labels": missing_labels,
            "embedding": embedding,
            "transform": transform,
            "seed": seed,
        }
        self._batch_options: dict[str, Any] = {
            "budget": budget,
            "max_batch_size": max_batch_size,
            "seed": seed,
        }
        self._train_options: dict[str, Any] = {
            "oversized": oversized,
            "length_noise": length_noise,
            "samples_per_epoch": samples_per_epoch,
        }
        self._drawing = {"clusters": clusters, "weights": weights}
        self._alphafold3 = alphafold3
        self._loader_options: dict[str, Any] = {
            "collate_fn": partial(collate, per_residue=tuple(per_residue or ())),
            "num_workers": num_workers,
            "worker_init_fn": leave_interrupts,
            "pin_memory": torch.accelerator.is_available() if pin_memory is None else pin_memory,
            "persistent_workers": persistent_workers and num_workers > 0,
            "prefetch_factor": prefetch_factor if num_workers else None,
            "multiprocessing_context": multiprocessing_context if num_workers else None,
        }
        self._datasets: dict[str, ShardDataset] = {}
        self._loaders: dict[str, TrainLoader | FixedLoader] = {}
        self._state: dict[str, Any] | None = None

    def __repr__(self) -> str:
        chosen = (
            f"{name} {' and '.join(filter(None, how)) or 'everything'}"
            for name, how in self._chosen.items()
            if name == "train" or any(how)
        )
        return f"{type(self).__name__}({self.path}: {', '.join(chosen)})"

    __str__ = __repr__  # Lightning's own would make all loaders

    @property
    def crops(self) -> dict[str, Crop]:
        """How items are shortened: the option that says so → the crop, where there is one."""
        found = {f"data.crop is {self._crop[0]}": self._dataset_options["crop"]}
        for other in self._mixture:
            kind = other.crop or self._crop[0]
            found[f"the crop of {other.title} in data.mixture is {kind}"] = self._crop_of(other)
        return {option: crop for option, crop in found.items() if crop is not None}

    def is_chosen(self, name: str) -> bool:
        """Whether there are chains for ``"train"``, ``"val"`` or ``"test"``."""
        return name == "train" or self._chosen[name] != (None, None)

    @property
    def train_dataset(self) -> ShardDataset:
        """The chains that are trained on."""
        dataset = self._dataset("train")
        assert dataset is not None
        return dataset

    @property
    def train_datasets(self) -> tuple[ShardDataset, ...]:
        """The same, and those of the mixture."""
        return self._training.sources

    # ---- what Lightning calls

    def setup(self, stage: str | None = None) -> None:
        """Open the datasets, and build their cache if there is none."""
        if self.trainer is not None:
            # A state of an earlier run is none of this one's; what Lightning restores comes after.
            self._state = None
        needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ()}
        for name in ("train", "val", "test") if stage is None else needed[stage]:
            self._dataset(name)
        if stage in (None, "fit"):
            _ = self._training

    def teardown(self, stage: str | None = None) -> None:
        """Let the workers go. Where training stands is kept, for a checkpoint taken afterwards."""
        self._state = self.state_dict() or None
        self._loaders.clear()

    def train_dataloader(self) -> Any:
        """`ResumableLoader` over the training items of this rank."""
        trainer: Any = self.trainer
        if trainer is not None and trainer.overfit_batches:
            return self._fixed_loader("train")
        loader = self._loaders.get("train")
        if not isinstance(loader, TrainLoader):
            loader = self._train_loader()
            if self._state is not None:
                self._continue(loader, self._state)
                self._state = None
            self._loaders["train"] = loader
        if trainer is not None:
            trainer.reload_dataloaders_every_n_epochs = 1
            if trainer.current_epoch != loader.epoch:
                loader.set_epoch(trainer.current_epoch)
                # Resuming from the last batch of an epoch, Lightning tells that it was the last
                # from the number of batches of the next one, and would skip as many there.
                progress = trainer.fit_loop.epoch_loop.batch_progress.current
                progress.completed = max(progress.completed, len(loader))
        return loader

    def val_dataloader(self) -> Any:
        """The same batches in every epoch; none if nothing is chosen for validation."""
        return self._fixed_loader("val")

    def test_dataloader(self) -> Any:
        """As `val_dataloader`."""
        return self._fixed_loader("test")

    def state_dict(self) -> dict[str, Any]:
        """Where training is, and over which items; empty before training."""
        loader = self._loaders.get("train")
        if not isinstance(loader, TrainLoader):
            return self._state or {}
        return {"train": loader.state_dict(), "items": dict(self._items)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state, when `train_dataloader` is next called.

        Raises
        ------
        OtherInputs
            (By `train_dataloader`, if it has not been called yet.) The state is of other data or
            options.
        """
        if not state_dict:
            return
        loader = self._loaders.get("train")
        if isinstance(loader, TrainLoader):
            self._continue(loader, state_dict)
        else:
            self._state = state_dict

    # ---- parts

    def _dataset(self, name: str) -> ShardDataset | None:
        split, condition = self._chosen[name]
        if not self.is_chosen(name):
            return None
        if name not in self._datasets:
            conditions = [f"({c})" for c in (self._where, condition) if c is not None]
            with options_fit():
                self._datasets[name] = ShardDataset(
                    self.path,
                    split=split,
                    where=" and ".join(conditions) or None,
                    **self._dataset_options,
                )
        return self._datasets[name]

    def _ranks(self) -> dict[str, Any]:
        trainer = self.trainer
        if trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": trainer.global_rank, "world_size": trainer.world_size}

    @cached_property
    def _training(self) -> TrainingItems:
        """What training samples are drawn from."""
        alphafold3 = self._alphafold3
        with options_fit():
            part = drawn_from(
                self.path,
                self.train_dataset,
                self._probability,
                alphafold3=alphafold3,
                **self._drawing,
            )
            parts = [part]
            for other in self._mixture:
                options = self._dataset_options | {
                    "entry_where": other.entry_where,
                    "unit": other.unit or self._dataset_options["unit"],
                    "crop": self._crop_of(other),
                }
                dataset = ShardDataset(other.path, split=other.split, where=other.where, **options)
                columns = {"clusters": other.clusters, "weights": other.weights}
                parts.append(
                    drawn_from(
                        other.title, dataset, other.probability, alphafold3=alphafold3, **columns
                    )
                )
            return training_items(parts)

    def _crop_of(self, other: MixedDataset) -> Crop | None:
        kind, size = self._crop
        return crop_of(other.crop or kind, other.crop_size or size, self._crop_shares)

    def _train_loader(self) -> TrainLoader:
        dataset = self._training.dataset
        with options_fit():
            sampler = LengthBatchSampler(
                dataset.lengths,
                **self._training.sampling,
                **self._batch_options,
                **self._train_options,
                **self._ranks(),
            )
        if sampler.n_oversized:
            _log.warning(
                "%d of %d training items exceed the budget of %d residues² alone: %s",
                sampler.n_oversized,
                len(dataset),
                sampler.budget,
                {"alone": "each is a batch of its own", "drop": "left out"}[
                    self._train_options["oversized"]
                ],
            )
        return TrainLoader(self.trainer, dataset, sampler, **self._loader_options)

    def _fixed_loader(self, name: str) -> FixedLoader | list[Any]:
        dataset = self._training.dataset if name == "train" else self._dataset(name)
        if dataset is None:
            return []
        loader = self._loaders.get(name)
        if not isinstance(loader, FixedLoader):
            # Its epoch stays 0: one order for ever, but not one by length, so that
            # limit_val_batches and overfit_batches take chains of all lengths.
            with options_fit():
                sampler = LengthBatchSampler(
                    dataset.lengths, length_noise=0.0, **self._batch_options, **self._ranks()
                )
            if sampler.n_left_out:
                _log.warning(
                    "%d of %d %s items are left out, so that %d ranks have equally many batches",
                    sampler.n_left_out,
                    len(dataset),
                    name,
                    sampler.world_size,
                )
            loader = FixedLoader(DataLoader(dataset, batch_sampler=sampler, **self._loader_options))
            self._loaders[name] = loader
        return loader

    @cached_property
    def _items(self) -> dict[str, str]:
        return self._training.identity()

    def _continue(self, loader: TrainLoader, state: dict[str, Any]) -> None:
        for what in dict.fromkeys(("mixture", *self._items)):
            then, now = (str(items.get(what)) for items in (state["items"], self._items))
            if then != now and what == "mixture":
                raise OtherInputs(
                    "the checkpoint was taken over another mixture of datasets: give the datasets "
                    "of data.mixture that it was taken with, in their order"
                )
            if then != now:
                raise OtherInputs(
                    f"the checkpoint was taken over another dataset than {self.path}, or over "
                    f"other chains of it ({what} {then[:12]}…, and here {now[:12]}…): give the "
                    "path, splits and conditions that it was taken with"
                )
        loader.load_state_dict(state["train"])
