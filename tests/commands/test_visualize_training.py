"""Watching attention while a network is trained: when, where to, and never in the way."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from model.network import NetworkConfig
from model.train import FlowModule
from model.visualize import draw, watch
from model.visualize.watch import WatchAttention
from tests.support.flow_batches import batch_of, random_item

TINY = NetworkConfig(n_blocks=2, c_s=16, c_z=4, n_heads=2, c_hidden=4, n_gaussians=2, n_points=2)
PER_LAYER = 3
Calls = list[tuple[int, bool]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def quick_figures() -> Iterator[None]:
    """What figures show is tested elsewhere; here they take no time."""
    patch = pytest.MonkeyPatch()
    for name in draw.FIGURES:
        patch.setitem(draw.FIGURES, name, lambda view: Figure(figsize=(1, 1)))
    yield
    patch.undo()


def train(folder: Path, *callbacks: pl.Callback, steps: int = 4, **options: Any) -> FlowModule:
    torch.manual_seed(0)
    module = FlowModule(TINY, max_passes=1)
    batches = [
        batch_of(random_item(f"{k}_1_A", 9, 2 * k, scale=4), random_item(f"{k}_1_B", 8, 2 * k + 1))
        for k in range(4)
    ]
    trainer = pl.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=CSVLogger(folder, name="csv"),
        max_steps=steps,
        max_epochs=-1,
        log_every_n_steps=1000,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module


class Passes(pl.Callback):
    """Which passes of the network happened in which batch, and whether they were looked at."""

    def __init__(self) -> None:
        self.calls: Calls = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        network, forward = pl_module.network, pl_module.network.forward

        def counted(noisy: Any, capture: Any = None) -> Any:
            self.calls.append((pl_module.batches, capture is not None))
            return forward(noisy, capture)

        network.forward = counted


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FlowModule, Calls, str]:
    """Four steps of two batches each, looked at every second step."""
    folder = tmp_path_factory.mktemp("watched")
    passes = Passes()
    capture = pytest.MonkeyPatch()
    lines: list[str] = []
    capture.setattr(watch.tqdm, "write", lambda line, file: lines.append(line))
    module = train(folder, passes, WatchAttention(2), accumulate_grad_batches=2)
    capture.undo()
    return folder, module, passes.calls, "\n".join(lines)


def test_figures_are_made_at_the_interval_and_only_then(watched: Any) -> None:
    folders = sorted((watched[0] / "attention").iterdir())
    assert [path.name for path in folders] == ["step_000002", "step_000004"]
    for path in folders:
        names = {file.name for file in path.iterdir()}
        assert len(names) == 2 * PER_LAYER
        assert "layer0_attention_overview_b0_h0.png" in names
        assert "layer1_distance_statistics_b0_h0.png" in names


def test_other_steps_have_no_pass_more_and_capture_nothing(watched: Any) -> None:
    batches = [batch for batch, _ in watched[2]]
    looked = [batch for batch, looked in watched[2] if looked]
    assert looked == [4, 8]  # the batches that complete steps 2 and 4
    assert len(batches) == 8 + len(looked)


def test_a_line_per_layer_is_printed(watched: Any) -> None:
    lines = watched[3].splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"[IGA Vis Layer {layer}] Step {step}" for step in (2, 4) for layer in (0, 1)
    ]


def test_the_numbers_of_the_line_are_scalars_of_the_logger(watched: Any) -> None:
    with next(watched[0].glob("csv/*/metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("attention/layer0/gamma")]
    assert [row["step"] for row in rows] == ["2", "4"]
    line = watched[3].splitlines()[1]
    for name in ("geo_bias", "local_attn", "global_attn"):
        digits = 3 if name == "geo_bias" else 4
        assert f"{name}={float(rows[0][f'attention/layer1/{name}']):.{digits}f}" in line


def test_training_is_the_same_with_and_without(watched: Any, tmp_path: Path) -> None:
    without = train(tmp_path, accumulate_grad_batches=2)
    assert not (tmp_path / "attention").exists()
    for name, weight in without.state_dict().items():
        assert torch.equal(weight, watched[1].state_dict()[name]), name


def test_an_error_in_drawing_is_one_warning_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(draw, "save_figures", fail)
    with pytest.warns(UserWarning, match="not drawn at step 1.*no space left") as record:
        module = train(tmp_path, WatchAttention(1), steps=3)
    assert module.batches == 3
    assert len([w for w in record if "not drawn" in str(w.message)]) == 1


def test_layers_heads_and_item_can_be_chosen(tmp_path: Path) -> None:
    train(tmp_path, WatchAttention(1, vis_heads=[1, 0], item=1, layers=[1]), steps=1)
    found = sorted(path.name for path in (tmp_path / "attention" / "step_000001").iterdir())
    assert found == [
        f"layer1_{name}_b1_h{head}.png"
        for name in ("attention_overview", "attention_profiles", "distance_statistics")
        for head in (0, 1)
    ]
    header = next(tmp_path.glob("csv/*/metrics.csv")).read_text().splitlines()[0]
    assert "attention/layer1/head0/geo_bias" in header


def test_an_interval_of_zero_never_looks(tmp_path: Path) -> None:
    train(tmp_path, WatchAttention(0), steps=1)
    assert not (tmp_path / "attention").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vis_interval": -1}, "vis_interval"),
        ({"vis_heads": []}, "vis_heads"),
        ({"vis_heads": [-2]}, "vis_heads"),
        ({"item": -1}, "item"),
    ],
)
def test_wrong_options_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WatchAttention(**options)


@pytest.mark.parametrize("options", [{"vis_heads": [2]}, {"layers": [2]}])
def test_heads_and_layers_that_the_network_lacks_stop_training_before_it_begins(
    options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="the network has 0 to 1"):
        train(tmp_path, WatchAttention(**options), steps=1)
