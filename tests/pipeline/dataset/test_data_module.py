"""`ProteinDataModule`: a built dataset in PyTorch Lightning."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.cli import LightningCLI

from pipeline.batching import OtherInputs, ProteinDataModule
from pipeline.dataset import ShardDataset, UnreadableDataset
from tests.support.places import ROOT

SMALL: dict[str, Any] = {"budget": 60_000, "max_batch_size": 3, "num_workers": 0, "cache": "memory"}


@pytest.fixture(scope="module")
def split_dataset(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples with splits: of every five chains one validates and one tests."""
    folder = tmp_path_factory.mktemp("split") / "dataset"
    shutil.copytree(examples_dataset, folder)
    uids = pq.read_table(folder / "index.parquet", columns=["chain_uid"])["chain_uid"].to_pylist()
    digest = json.loads((folder / "build.json").read_text())["digest"]
    table = pa.table(
        {
            "chain_uid": uids,
            "split": [("train", "val", "train", "test", "train")[k % 5] for k in range(len(uids))],
            "cluster": [f"cluster {k // 2}" for k in range(len(uids))],
            "importance": [float(k % 3) for k in range(len(uids))],
        }
    )
    pq.write_table(table.replace_schema_metadata({"digest": digest}), folder / "splits.parquet")
    return folder


class Model(pl.LightningModule):
    """Writes down what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.seen: list[tuple[int, list[str]]] = []
        self.validated: list[list[str]] = []
        self.fail_at = -1

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if len(self.seen) == self.fail_at:
            raise RuntimeError("the step failed")
        self.seen.append((self.current_epoch, batch["chain_uid"]))
        error = self.layer(batch["local_mean"])[..., 0].square()
        return (error * batch["residue_mask"]).mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append(batch["chain_uid"])

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.validated.append(batch["chain_uid"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trainer_of(folder: Path, *callbacks: Callback, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        callbacks=list(callbacks),
        default_root_dir=folder,
        **{"max_epochs": 3, "devices": 1, **options},
    )


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        yield


def uids_of(path: Path, **options: Any) -> list[str]:
    return sorted(ShardDataset(path, **options).chain_uids)


def chains(batches: list[list[str]]) -> list[str]:
    return sorted(chain.from_iterable(batches))


# ---- what is trained and validated on


def test_training_sees_every_chain_once_an_epoch_and_validation_the_same_batches(
    split_dataset, tmp_path
):
    model = Model()
    trainer_of(tmp_path).fit(model, datamodule=ProteinDataModule(str(split_dataset), **SMALL))
    orders = []
    for epoch in range(3):
        orders.append([uids for e, uids in model.seen if e == epoch])
        assert chains(orders[-1]) == uids_of(split_dataset, split="train")
    assert orders[0] != orders[1] != orders[2]
    n = len(model.validated) // 3
    assert model.validated[:n] == model.validated[n : 2 * n] == model.validated[2 * n :]
    assert chains(model.validated[:n]) == uids_of(split_dataset, split="val")


def test_tests_see_the_test_split(split_dataset, tmp_path):
    model = Model()
    data = ProteinDataModule(str(split_dataset), **SMALL)
    trainer_of(tmp_path).test(model, datamodule=data, verbose=False)
    assert chains(model.validated) == uids_of(split_dataset, split="test")


def test_conditions_choose_besides_splits_and_instead(split_dataset):
    data = ProteinDataModule(
        str(split_dataset),
        where="length >= 20 or length < 9",
        val_split=None,
        val_where="length < 60",
        test_split=None,
        **SMALL,
    )
    data.setup()
    train = chains([batch["chain_uid"] for batch in data.train_dataloader()])
    assert train == uids_of(split_dataset, split="train", where="length >= 20 or length < 9")
    val = chains([batch["chain_uid"] for batch in data.val_dataloader()])
    assert val == uids_of(split_dataset, where="(length >= 20 or length < 9) and length < 60")
    assert data.test_dataloader() == []


def test_without_splits_everything_is_trained_on(examples_dataset, tmp_path):
    model = Model()
    data = ProteinDataModule(
        str(examples_dataset), train_split=None, val_split=None, test_split=None, **SMALL
    )
    trainer_of(tmp_path, max_epochs=1).fit(model, datamodule=data)
    assert chains([uids for _, uids in model.seen]) == uids_of(examples_dataset)


def test_clusters_and_weights_are_columns(split_dataset):
    data = ProteinDataModule(
        str(split_dataset), clusters="cluster", weights="importance", train_split=None, **SMALL
    )
    data.setup("fit")
    index = ShardDataset(split_dataset).index.select(["chain_uid", "cluster", "importance"])
    rows = {row["chain_uid"]: row for row in index.to_pylist()}
    loader = data.train_dataloader()
    for _ in range(3):
        drawn = [rows[uid] for batch in loader for uid in batch["chain_uid"]]
        clusters = [row["cluster"] for row in drawn]
        assert len(clusters) == len(set(clusters))
        assert set(clusters) == {r["cluster"] for r in rows.values() if r["importance"] > 0}
        assert all(row["importance"] > 0 for row in drawn)


@pytest.mark.parametrize("kind", ["contiguous", "spatial"])
def test_crops_differ_between_epochs_of_training_and_never_in_validation(split_dataset, kind):
    data = ProteinDataModule(str(split_dataset), crop=kind, crop_size=40, **SMALL)
    data.setup("fit")

    def shown(loader: Any) -> dict[str, torch.Tensor]:
        found = {}
        for batch in loader:
            assert batch["aatype"].shape[1] <= 40
            found.update(zip(batch["chain_uid"], batch["residue_index"], strict=True))
        return found

    loader = data.train_dataloader()
    one, other = shown(loader), shown(loader)
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[uid][:40], other[uid][:40]) for uid in one)
    one, other = shown(data.val_dataloader()), shown(data.val_dataloader())
    assert all(torch.equal(one[uid], other[uid]) for uid in one)


def test_an_epoch_with_fewer_batches_than_the_first_validates_too(split_dataset, tmp_path):
    """Lightning asks for the number of batches once, unless it is told otherwise."""
    model = Model()
    lengths: list[int] = []

    class Lengths(Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
            lengths.append(int(trainer.num_training_batches))

    data = ProteinDataModule(str(split_dataset), clusters="cluster", **SMALL)
    trainer_of(tmp_path, Lengths(), max_epochs=8).fit(model, datamodule=data)
    assert len(set(lengths)) > 1
    assert lengths == [sum(e == epoch for e, _ in model.seen) for epoch in range(8)]
    n_val = len(uids_of(split_dataset, split="val"))
    assert len(list(chain.from_iterable(model.validated))) == 8 * n_val


def test_overfitting_shows_the_same_batches_again_and_again(split_dataset, tmp_path):
    model = Model()
    data = ProteinDataModule(str(split_dataset), **SMALL)
    trainer_of(tmp_path, overfit_batches=2).fit(model, datamodule=data)
    shown = [uids for _, uids in model.seen]
    assert len(shown) == 6
    assert shown[:2] == shown[2:4] == shown[4:]


# ---- resuming


def undisturbed(path: Path, folder: Path, **options: Any) -> list[tuple[int, list[str]]]:
    model = Model()
    trainer_of(folder).fit(model, datamodule=ProteinDataModule(str(path), **{**SMALL, **options}))
    return model.seen


class SaveOften(Callback):
    """A checkpoint at every place where people take them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.saved: list[tuple[int, Path]] = []

    def _save(self, trainer: pl.Trainer, model: pl.LightningModule, place: str) -> None:
        if trainer.sanity_checking:
            return
        path = self.folder / f"{len(self.saved)}-{place}.ckpt"
        trainer.save_checkpoint(path)
        self.saved.append((len(model.seen), path))  # type: ignore[arg-type]

    def on_train_batch_end(self, trainer: Any, model: Any, *_: Any) -> None:
        self._save(trainer, model, "batch-end")

    def on_validation_end(self, trainer: Any, model: Any) -> None:
        self._save(trainer, model, "validation-end")

    def on_train_epoch_end(self, trainer: Any, model: Any) -> None:
        self._save(trainer, model, "epoch-end")


@pytest.mark.parametrize(
    ("clusters", "trainer_options"),
    [
        (None, {}),
        ("cluster", {}),
        ("cluster", {"val_check_interval": 3}),
        ("cluster", {"limit_train_batches": 6}),
        (None, {"accumulate_grad_batches": 2, "max_epochs": -1, "max_steps": 14}),
    ],
)
def test_resumed_from_any_checkpoint_training_sees_what_it_would_have_seen(
    split_dataset, tmp_path, clusters, trainer_options
):
    options = SMALL | {"clusters": clusters}
    model, often = Model(), SaveOften(tmp_path)
    data = ProteinDataModule(str(split_dataset), **options)
    trainer_of(tmp_path, often, **trainer_options).fit(model, datamodule=data)
    last = len(model.seen)
    for n_seen, path in often.saved:
        # All around the ends of epochs, and some within.
        ends = [k for k in range(1, last) if model.seen[k - 1][0] != model.seen[k][0]]
        if n_seen == last or not (n_seen % 5 == 0 or any(abs(n_seen - k) <= 1 for k in ends)):
            continue
        torch.load(path, weights_only=True)
        resumed = Model()
        trainer_of(tmp_path, **trainer_options).fit(
            resumed, datamodule=ProteinDataModule(str(split_dataset), **options), ckpt_path=path
        )
        assert resumed.seen == model.seen[n_seen:], f"{path.stem}, {n_seen} of {last} batches"


def test_resumed_at_other_worker_counts_and_from_within_validation(split_dataset, tmp_path):
    expected = undisturbed(split_dataset, tmp_path)
    seen, path = [], None
    for stop, num_workers in ((4, 2), (7, 0), (1000, 1)):
        model = Model()
        save = ModelCheckpoint(tmp_path, filename=f"after-{stop}", every_n_train_steps=1)
        data = ProteinDataModule(
            str(split_dataset),
            **SMALL | {"num_workers": num_workers, "prefetch_factor": 4},
        )
        trainer = trainer_of(tmp_path, save, max_steps=stop, val_check_interval=3)
        trainer.fit(model, datamodule=data, ckpt_path=path)
        path = save.best_model_path
        seen += model.seen
    assert seen == expected


def test_a_checkpoint_at_the_end_of_an_epoch_continues_with_the_next(split_dataset, tmp_path):
    expected = undisturbed(split_dataset, tmp_path)
    model = Model()
    trainer = trainer_of(tmp_path, max_epochs=1)
    trainer.fit(model, datamodule=ProteinDataModule(str(split_dataset), **SMALL))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    resumed = Model()
    trainer_of(tmp_path).fit(
        resumed,
        datamodule=ProteinDataModule(str(split_dataset), **SMALL),
        ckpt_path=tmp_path / "end.ckpt",
    )
    assert model.seen + resumed.seen == expected


def test_workers_leave_ctrl_c_to_the_main_process(split_dataset: Path) -> None:
    """A terminal sends it to all: batches go on, so that training can finish its step."""
    options = SMALL | {"num_workers": 1, "multiprocessing_context": "fork"}
    data = ProteinDataModule(str(split_dataset), **options)
    data.setup("fit")
    loader = data.train_dataloader()
    n, batches = len(loader), iter(loader)
    next(batches)
    (worker,) = loader._iterator._workers
    os.kill(worker.pid, signal.SIGINT)
    assert len(list(batches)) == n - 1
    assert worker.is_alive()
    loader._iterator = None


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_step_that_failed_is_done_again(split_dataset, tmp_path, num_workers):
    """Its batch was handed out, but nothing was learnt from it."""
    expected = undisturbed(split_dataset, tmp_path)

    class SaveOnError(Callback):
        def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "error.ckpt")

    model = Model()
    model.fail_at = 5
    options = SMALL | {"num_workers": num_workers}
    with pytest.raises(RuntimeError, match="the step failed"):
        trainer_of(tmp_path, SaveOnError()).fit(
            model, datamodule=ProteinDataModule(str(split_dataset), **options)
        )
    resumed = Model()
    trainer_of(tmp_path).fit(
        resumed,
        datamodule=ProteinDataModule(str(split_dataset), **options),
        ckpt_path=tmp_path / "error.ckpt",
    )
    assert model.seen + resumed.seen == expected


@pytest.mark.parametrize("fail_at", [-1, 3])
def test_no_worker_outlives_the_training(split_dataset, tmp_path, fail_at):
    before = set(multiprocessing.active_children())
    model = Model()
    model.fail_at = fail_at
    data = ProteinDataModule(str(split_dataset), **SMALL | {"num_workers": 1})
    trainer = trainer_of(tmp_path, max_epochs=2)
    with pytest.raises(RuntimeError, match="failed") if fail_at > 0 else nullcontext():
        trainer.fit(model, datamodule=data)
    assert set(multiprocessing.active_children()) <= before


def test_one_module_can_be_fitted_again_from_the_beginning(split_dataset, tmp_path):
    data = ProteinDataModule(str(split_dataset), **SMALL)
    first, second = Model(), Model()
    trainer_of(tmp_path, max_steps=3).fit(first, datamodule=data)
    trainer_of(tmp_path).fit(second, datamodule=data)
    assert second.seen[:3] == first.seen
    assert second.seen == undisturbed(split_dataset, tmp_path)


def test_a_checkpoint_of_other_chains_or_options_is_refused(split_dataset, tmp_path):
    trainer = trainer_of(tmp_path, max_steps=2)
    trainer.fit(Model(), datamodule=ProteinDataModule(str(split_dataset), **SMALL))
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    for change, sentence in (
        ({"budget": 70_000}, "budget=60000, and here it is 70000"),
        ({"train_split": "val"}, "other chains of it"),
        ({"train_split": None}, "other chains of it"),
    ):
        with pytest.raises(OtherInputs, match=sentence):
            trainer_of(tmp_path).fit(
                Model(),
                datamodule=ProteinDataModule(str(split_dataset), **SMALL | change),
                ckpt_path=tmp_path / "two.ckpt",
            )


def test_without_a_trainer_the_state_resumes_as_well(split_dataset):
    data, other = (ProteinDataModule(str(split_dataset), **SMALL) for _ in range(2))
    assert data.state_dict() == {}
    batches = [batch["chain_uid"] for batch in data.train_dataloader()]
    data = ProteinDataModule(str(split_dataset), **SMALL)
    iterator = iter(data.train_dataloader())
    next(iterator), next(iterator)
    other.load_state_dict(data.state_dict())
    assert [batch["chain_uid"] for batch in other.train_dataloader()] == batches[2:]


# ---- ranks


class RankOf:
    """What a data module asks of its trainer, on one of several ranks."""

    def __init__(self, rank: int, world_size: int):
        self.global_rank, self.world_size = rank, world_size
        self.overfit_batches = self.current_epoch = 0
        self.fit_loop = pl.Trainer(accelerator="cpu", logger=False).fit_loop


def test_ranks_share_out_every_split_without_overlap(split_dataset):
    for world_size in (2, 3):
        loaders: dict[str, list[Any]] = {"train": [], "val": []}
        for rank in range(world_size):
            data = ProteinDataModule(str(split_dataset), **SMALL)
            data.trainer = RankOf(rank, world_size)  # type: ignore[assignment]
            data.setup("fit")
            loaders["train"].append(data.train_dataloader())
            loaders["val"].append(data.val_dataloader())
        for split, ranks in loaders.items():
            assert len({len(loader) for loader in ranks}) == 1
            shown = [batch["chain_uid"] for loader in ranks for batch in loader]
            assert chains(shown) == uids_of(split_dataset, split=split)


@pytest.mark.slow
def test_two_processes_train_on_half_the_batches_each(split_dataset, tmp_path):
    """Distributed in earnest: Lightning leaves the loaders alone."""
    program = f"""
import sys, json
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.pipeline.dataset.test_data_module import *
model = Model()
trainer = trainer_of(Path({str(tmp_path)!r}), max_epochs=2, devices=2, strategy="ddp")
trainer.fit(model, datamodule=ProteinDataModule({str(split_dataset)!r}, **SMALL))
shown = json.dumps([model.seen, model.validated])
Path({str(tmp_path)!r}, f"{{trainer.global_rank}}.json").write_text(shown)
"""
    script = tmp_path / "train.py"
    script.write_text(program)
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    (seen, validated), (seen_1, validated_1) = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)
    )
    assert len(seen) == len(seen_1)
    for epoch in range(2):
        shown = [uids for e, uids in seen + seen_1 if e == epoch]
        assert chains(shown) == uids_of(split_dataset, split="train")
    assert chains(validated + validated_1) == sorted(2 * uids_of(split_dataset, split="val"))


# ---- configuration and errors


def test_the_command_line_of_lightning_configures_it(split_dataset, tmp_path, monkeypatch):
    config = tmp_path / "data.yaml"
    config.write_text(f"path: {split_dataset}\nbudget: 60000\nval_split: null\nnum_workers: 0\n")
    words = f"train --data {config} --data.max_batch_size=2 --data.cache=null"
    monkeypatch.setattr(sys, "argv", [*words.split(), "--trainer.accelerator=cpu"])
    cli = LightningCLI(Model, ProteinDataModule, run=False, save_config_callback=None)
    cli.datamodule.setup("fit")
    assert all(len(batch["chain_uid"]) <= 2 for batch in cli.datamodule.train_dataloader())
    assert cli.datamodule.val_dataloader() == []


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"train_split": "training"}, ValueError, "no split 'training' .*test, train, val"),
        ({"clusters": "clusters"}, ValueError, "no column 'clusters' in the index or the splits"),
        ({"weights": "resolution"}, ValueError, "items have no resolution"),
        ({"crop_size": 9, "crop": "cubic"}, ValueError, "crop is"),
        ({"where": "lenght > 5"}, ValueError, "did you mean length"),
    ],
)
def test_wrong_options_are_refused_by_name(split_dataset, options, error, sentence):
    with pytest.raises(error, match=sentence):
        ProteinDataModule(str(split_dataset), **SMALL, **options).train_dataloader()


def test_a_dataset_without_splits_says_how_to_make_them(examples_dataset):
    with pytest.raises(UnreadableDataset, match=r"pipeline\.split"):
        ProteinDataModule(str(examples_dataset), **SMALL).setup("fit")


def test_oversized_items_are_told(split_dataset, caplog):
    data = ProteinDataModule(str(split_dataset), **SMALL | {"budget": 10_000})
    with caplog.at_level(logging.WARNING):
        data.train_dataloader()
    lengths = ShardDataset(split_dataset, split="train").lengths
    n = np.count_nonzero(lengths > 100)
    assert f"{n} of {len(lengths)} training items exceed the budget" in caplog.text


def test_without_lightning_the_rest_works_and_the_module_says_what_to_install():
    program = """
import sys
from pipeline.batching import LengthBatchSampler, ResumableLoader, collate
assert "pytorch_lightning" not in sys.modules
sys.modules["pytorch_lightning"] = None
print(list(LengthBatchSampler([3, 4], budget=100)))
try:
    from pipeline.batching import ProteinDataModule
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.splitlines() == [
        "[[1, 0]]",
        "ProteinDataModule needs pytorch_lightning, which is not installed: "
        'pip install "ellipsoid-flow[train]"',
    ], result.stderr
