"""Training: what a run leaves and logs, how it resumes, and what stops it."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from model.attention import describe
from model.attention.gaussian_attention import AFFINE_SPREAD, GAMMA_INIT
from model.checkpoint import (
    INFO,
    CheckpointInfo,
    NotACheckpoint,
    load_flow,
    load_weights,
    save_flow,
)
from model.export import export_flow, mean_of
from model.flow import TASKS, TaskWeights
from model.flow.error_scale import ErrorScale
from model.losses import FlowLoss, LossTerm, LossWeights
from model.network import FlowNetwork, NetworkConfig
from model.train import FlowModule, late_checks
from model.train.check_batch import BadBatch, check_batch
from model.train.check_loss import BadLoss, check_loss
from model.train.checkpoints import WholeFiles
from model.train.command import COLUMNS, main
from pipeline.errors import UsageError
from tests.support.flow_batches import batch_of, random_item, unresolved
from tests.support.places import ROOT
from tests.support.train_runs import NO_VALIDATION, SMALL, fit, last, logged, text_of, with_splits

TINY = NetworkConfig(n_blocks=1, c_s=16, c_z=4, n_heads=2, c_hidden=4, n_gaussians=2, n_points=2)
CONFIGS = sorted((ROOT / "model" / "configs").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over threads are not the same to the last bit in every run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_splits(examples_dataset, tmp_path_factory.mktemp("train") / "dataset")


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve steps of two batches each; an epoch has ten batches or so."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(
        dataset,
        folder,
        12,
        model__backbone_noise__design=0.1,
        model__network__dropout=0.1,
        trainer__accumulate_grad_batches=2,
        trainer__val_check_interval=4,
        trainer__limit_val_batches=2,
        last__every_n_steps=5,
        run__notes="twelve steps",
        best__keep=2,
        watch__vis_interval=12,
    )
    return folder


@pytest.fixture(scope="module")
def continued(whole: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, interrupted after step 5 in the middle of an epoch, and resumed."""
    folder = tmp_path_factory.mktemp("continued") / "run"
    options: dict[str, Any] = {
        "model__backbone_noise__design": 0.1,
        "model__network__dropout": 0.1,
        "trainer__accumulate_grad_batches": 2,
        "trainer__limit_val_batches": 0,
    }
    fit(dataset, folder, 5, **options)
    fit(dataset, folder, 12, **options, ckpt_path=last(folder))
    return folder


def test_a_run_draws_what_its_attention_looks_at(whole: Path) -> None:
    (step,) = (whole / "attention").iterdir()
    assert step.name == "step_000012"
    assert len(list(step.glob("layer0_*_b0_h0.png"))) == 3


def stored(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_a_run_leaves_its_configuration_versions_notes_and_the_digest_of_its_data(
    whole: Path, dataset: Path
) -> None:
    config = yaml.safe_load((whole / "config.yaml").read_text())
    assert config["model"]["network"]["c_s"] == 16
    assert config["model"]["optimizer"]["betas"]  # defaults are resolved
    assert config["data"]["test_split"] is None
    found = json.loads((whole / "run.json").read_text())
    digest = json.loads((dataset / "build.json").read_text())["digest"]
    assert found["dataset"]["dataset"] == digest
    assert found["notes"] == "twelve steps"
    assert found["versions"]["torch"] == torch.__version__
    (session,) = found["sessions"]
    assert session["attention"] == describe(torch.device(session["device"]))
    assert list((whole / "tensorboard" / "version_0").glob("events*"))


def test_everything_is_logged_at_the_interval_and_nothing_more_often(whole: Path) -> None:
    rows = logged(whole)
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8, 10, 12]
    with (whole / "csv" / "version_0" / "metrics.csv").open() as file:
        between = [r for r in csv.DictReader(file) if not r["train/loss"] and not r["val/loss"]]
    # Attention is looked at at an interval of its own.
    assert all(int(r["step"]) == 12 and r["attention/layer0/gamma"] for r in between)


def test_terms_are_logged_by_name_and_time_with_tasks_gamma_gradient_and_speed(whole: Path) -> None:
    rows = logged(whole)
    for name in ("translation", "rotation", "torsion", "chi", "chi_offset", "sequence", "pairs"):
        values = [float(row[f"train/{name}"]) for row in rows if row[f"train/{name}"]]
        assert len(values) >= 4
        assert any(row[f"train_by_time/{name}_0.25-0.50"] for row in rows)
    for row in rows:
        chains = sum(float(row[f"tasks/{task}"]) for task in TASKS)
        assert 4 <= chains <= 12  # two steps of two batches of one to three chains
        assert float(row["gamma/mean"]) == pytest.approx(GAMMA_INIT / AFFINE_SPREAD, abs=0.02)
        assert float(row["grad_norm"]) > 0
        assert float(row["residues_per_second"]) > 0
        assert float(row["lr"]) > 0


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one_to_the_last_bit(
    whole: Path, continued: Path
) -> None:
    one, other = stored(last(whole)), stored(last(continued))
    assert one["global_step"] == other["global_step"] == 12
    assert one["batches"] == other["batches"] == 24
    assert one["epoch"] >= 1  # it went on into another epoch
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, other["state_dict"][name]), name
    for name, weight in one["callbacks"]["EMA"]["weights"].items():
        assert torch.equal(weight, other["callbacks"]["EMA"]["weights"][name]), name


def test_a_resumed_run_logs_what_an_uninterrupted_one_logs(whole: Path, continued: Path) -> None:
    """Step 5 lies between two lines of the log: the sums so far are kept."""
    rows = {int(row["step"]): row for row in logged(whole)}
    resumed = logged(continued, session=1)
    assert [int(row["step"]) for row in resumed] == [6, 8, 10, 12]
    for row in resumed:
        for name in ("train/loss", "train/chi", "tasks/packing", "lr", "grad_norm"):
            assert row.get(name, "") == rows[int(row["step"])][name], name


def test_validation_is_done_with_the_averaged_weights_and_the_same_noise(
    whole: Path, dataset: Path
) -> None:
    path = next(p for p in sorted((whole / "checkpoints").glob("best-*.ckpt")))
    network, info = load_flow(path)
    assert info.averaged
    from pipeline.batching import ProteinDataModule

    data = ProteinDataModule(
        str(dataset),
        columns=COLUMNS,
        crop_size=24,
        max_batch_size=3,
        num_workers=0,
        cache="memory",
        test_split=None,
    )
    data.setup("validate")
    module = FlowModule(network=info.network).eval()
    module.network.load_state_dict(network.state_dict())
    for k, batch in enumerate(data.val_dataloader()):
        if k < 2:
            with torch.no_grad():
                module.validation_step(batch, k)
    from model.train.loss_sums import weighted

    found = weighted(module._validation.totals(), module.loss_weights)
    assert found == pytest.approx(info.metrics["val/loss"], rel=1e-5)


def test_the_best_checkpoints_are_kept_beside_the_last(whole: Path) -> None:
    names = sorted(p.name for p in (whole / "checkpoints").iterdir())
    assert len(names) == 3
    assert names[-1] == "last.ckpt"
    assert all(name.startswith("best-") for name in names[:2])


def test_a_run_folder_with_checkpoints_is_not_used_again_by_accident(
    whole: Path, dataset: Path
) -> None:
    with pytest.raises(UsageError, match=r"--ckpt_path .*last\.ckpt"):
        fit(dataset, whole, 20)


def test_a_checkpoint_loads_in_evaluation_mode_with_the_average_and_says_what_it_is(
    whole: Path, dataset: Path
) -> None:
    network, info = load_flow(last(whole))
    average = stored(last(whole))["callbacks"]["EMA"]["weights"]
    assert not network.training
    assert all(torch.equal(p, average[name]) for name, p in network.named_parameters())
    assert (info.step, info.averaged, info.notes) == (12, True, "twelve steps")
    assert info.dataset_digest == json.loads((dataset / "build.json").read_text())["digest"]
    assert info.network.c_s == 16
    plain, _ = load_flow(last(whole), averaged=False)
    assert not all(torch.equal(p, average[name]) for name, p in plain.named_parameters())


def test_an_exported_checkpoint_is_small_and_predicts_the_same(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.ckpt"
    assert main(["export", str(last(whole)), str(small)]) == 0
    assert "averaged weights of step 12" in capsys.readouterr().out
    assert small.stat().st_size < last(whole).stat().st_size / 2
    network, info = load_flow(last(whole))
    again, again_info = load_flow(small)
    assert info == again_info
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    (tmp_path / "summary.json").write_text(
        '{"split": "test", "tasks": {"packing": {"chi1_recovery": {"mean": 0.5}}}}'
    )
    assert main(["export", str(last(whole)), str(small), "--evaluation", str(tmp_path)]) == 0
    measured = load_flow(small)[1].metrics
    assert measured == {**info.metrics, "test/packing.chi1_recovery": 0.5}
    half = export_flow(last(whole), tmp_path / "half.ckpt", half=True)
    assert half.averaged
    weights, _ = load_weights(tmp_path / "half.ckpt")
    assert all(weight.dtype == torch.float32 for weight in weights.values())


def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.ckpt"
    path.write_text("nothing")
    with pytest.raises(NotACheckpoint, match=r"notes\.ckpt"):
        load_flow(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(NotACheckpoint, match=INFO):
        load_flow(path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint"):
        load_flow(tmp_path / "absent.ckpt")


def test_what_is_no_checkpoint_is_told_apart_and_no_advice_of_torch_s_is_passed_on(
    whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.ckpt"

    def sentence() -> str:
        with pytest.raises(NotACheckpoint) as raised:
            load_weights(path)
        return str(raised.value)

    path.write_bytes(b"")
    assert f"{path} is empty" in sentence()
    path.write_text("# A read me\n")
    assert sentence() == (
        f"{path} is no checkpoint; give one that model.train has written, such as "
        "RUN/checkpoints/last.ckpt"
    )
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    assert "git lfs pull" in sentence()
    path.write_bytes(last(whole).read_bytes()[:-500])
    assert "is cut off or damaged" in sentence()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    assert "is an archive, no checkpoint" in sentence()
    torch.save({INFO: Path}, path)
    assert "is not trusted" in sentence()
    path.unlink()
    path.mkdir()
    assert "is a folder; give a checkpoint such as last.ckpt" in sentence()
    with pytest.raises(NotACheckpoint, match=r"such as .*checkpoints/last\.ckpt"):
        load_weights(whole)


def test_an_exported_checkpoint_is_fine_tuned_not_resumed(
    whole: Path, dataset: Path, tmp_path: Path
) -> None:
    export_flow(last(whole), tmp_path / "small.ckpt")
    with pytest.raises(UsageError, match=r"was exported.*--model\.init_from"):
        fit(dataset, tmp_path / "run", 14, ckpt_path=tmp_path / "small.ckpt")


def test_a_run_is_not_resumed_with_another_network(
    whole: Path, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        fit(dataset, tmp_path / "run", 14, ckpt_path=last(whole), model__network__n_blocks=7)
    assert "--model.network.n_blocks is " in str(error.value)
    assert " there and 7 here" in str(error.value)
    assert f"--model.init_from {last(whole)}" in str(error.value)
    assert not (tmp_path / "run").exists()
    # What gammas begin with is no part of a run that has begun.
    fit(dataset, tmp_path / "run", 13, ckpt_path=last(whole), model__network__gamma_init=2.0)


def test_a_mean_of_networks_has_the_mean_of_their_weights_and_has_seen_what_each_has(
    whole: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fit(dataset, tmp_path / "run", 3, model__init_from=last(whole))
    other, mean = last(tmp_path / "run"), tmp_path / "mean.ckpt"
    seen = stored(other)
    seen[INFO]["trained_on"]["datasets"].append(["abc", "train"])
    torch.save(seen, tmp_path / "other.ckpt")
    words = ["export", str(last(whole)), str(mean), "--mean-with", str(tmp_path / "other.ckpt")]
    assert main(words) == 0
    assert "mean of the averaged weights of step 12 and 3" in capsys.readouterr().out
    weights, info = load_weights(mean)
    one, two = load_weights(last(whole))[0], load_weights(other)[0]
    for name, value in weights.items():
        assert torch.allclose(value, (one[name] + two[name]) / 2, atol=1e-7), name
    assert ["abc", "train"] in info.trained_on["datasets"]
    assert info.settings["mean_of"] == [12, 3]
    assert info.metrics == {}
    scaled = mean_of(["packing", "packing"])[1]
    assert scaled.error_scale == ErrorScale(), "it was that of another network"


def test_a_mean_of_networks_of_other_sizes_is_refused_with_the_sizes(
    whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotACheckpoint, match=r"another network than .*c_s 192 there and 16 here"):
        export_flow(last(whole), tmp_path / "mean.ckpt", mean_with=["packing"])
    assert not (tmp_path / "mean.ckpt").exists()


def test_the_loss_of_an_exported_network_is_that_of_its_checkpoint(
    whole: Path, dataset: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.ckpt"
    export_flow(last(whole), small)
    losses = [
        fit(dataset, tmp_path / "run", 1, "validate", **options).trainer.callback_metrics
        for options in ({"ckpt_path": last(whole)}, {"model__init_from": small})
    ]
    assert torch.equal(losses[0]["val/loss"], losses[1]["val/loss"])
    with pytest.raises(UsageError, match=r"^validate of which network\? Give --ckpt_path RUN/"):
        fit(dataset, tmp_path / "run", 1, "validate")


def test_what_was_trained_is_not_overwritten_by_what_it_began_with(
    whole: Path, dataset: Path, tmp_path: Path
) -> None:
    begun = fit(dataset, tmp_path / "run", 1, model__init_from=last(whole))
    trained = {name: value.clone() for name, value in begun.model.network.state_dict().items()}
    begun.trainer.validate(begun.model, begun.datamodule)
    for name, value in begun.model.network.state_dict().items():
        assert torch.equal(value, trained[name])


def test_a_run_goes_on_when_what_it_began_with_is_gone(
    whole: Path, dataset: Path, tmp_path: Path
) -> None:
    export_flow(last(whole), tmp_path / "small.ckpt")
    fit(dataset, tmp_path / "run", 1, model__init_from=tmp_path / "small.ckpt")
    (tmp_path / "small.ckpt").unlink()
    resumed = fit(
        dataset,
        tmp_path / "run",
        2,
        model__init_from=tmp_path / "small.ckpt",
        ckpt_path=last(tmp_path / "run"),
    )
    assert resumed.trainer.global_step == 2


def test_a_network_of_another_version_is_refused_with_what_is_strange_about_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.ckpt"
    info = CheckpointInfo(network=TINY).to_plain()
    assert "attention_implementation" not in info["network"]
    torch.save({INFO: {**info, "format": 99}, "weights": {}}, path)
    with pytest.raises(NotACheckpoint, match="format 99, which is read by another version"):
        load_flow(path)
    torch.save({INFO: {**info, "format": 1}, "weights": {}}, path)
    with pytest.raises(NotACheckpoint, match="read by the versions before 2026-11-29"):
        load_flow(path)
    torch.save({INFO: {**info, "network": {"wings": 2}}, "weights": {}}, path)
    with pytest.raises(NotACheckpoint, match="wings"):
        load_flow(path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        WholeFiles().save_checkpoint({"step": lambda: 2}, path)
    assert stored(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_training_runs_in_bf16(dataset: Path, tmp_path: Path) -> None:
    cli = fit(
        dataset,
        tmp_path / "run",
        2,
        trainer__precision="bf16-mixed",
        trainer__limit_val_batches=1,
        model__max_passes=2,
    )
    assert cli.trainer.global_step == 2
    assert float(logged(tmp_path / "run")[0]["train/loss"]) > 0


def items() -> list[dict[str, Any]]:
    return [random_item("aaaa_1_A", 12, 0), random_item("bbbb_1_B", 9, 1)]


def loss_of(module: FlowModule, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(type(module), "_or_dump", lambda self, batch, check, *a: check(*a))
    return module.training_step(batch, 0)


def test_self_conditioning_under_bf16_leaves_every_weight_its_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    module = FlowModule(network=TINY)
    monkeypatch.setattr(FlowModule, "_passes", lambda self, step: 3)
    # Every layer moves something, the last ones too, which begin at zero.
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch = batch_of(*items(), random_item("cccc_1_A", 10, 3), random_item("dddd_1_A", 10, 4))

    def gradients(autocast: bool) -> dict[str, torch.Tensor]:
        module.zero_grad()
        module.batches = 0
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(module, batch, monkeypatch)["loss"]
        loss.backward()
        return {n: p.grad for n, p in module.network.named_parameters() if p.grad is not None}

    full, low = gradients(False), gradients(True)
    assert full.keys() == low.keys()
    for name, gradient in full.items():
        if gradient.norm() > 1e-3:
            similarity = torch.cosine_similarity(gradient.flatten(), low[name].flatten(), dim=0)
            assert similarity > 0.8, name


def test_rotations_stay_rotations_under_bf16() -> None:
    module = FlowModule(network=TINY)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        noisy, target, _ = module.corrupted(batch_of(*items()), 3)
        prediction = module.network(noisy)
    for r in (noisy.state.rotations, target.rotations, prediction.rotations):
        assert r.dtype == torch.float32
        torch.testing.assert_close(
            r.transpose(-1, -2) @ r, torch.eye(3).expand_as(r), atol=1e-5, rtol=0
        )


def test_noise_is_a_function_of_the_number_of_batches_and_of_the_chain() -> None:
    module = FlowModule(network=TINY, tasks=TaskWeights(0.0, 0.0, 0.0, 1.0))
    a, b = items()
    both, _, _ = module.corrupted(batch_of(a, b), 7)
    alone, _, _ = module.corrupted(batch_of(b), 7)
    torch.testing.assert_close(both.state.translations[1, :9], alone.state.translations[0])
    later = [module.corrupted(batch_of(b), step)[0].state.translations for step in range(8, 12)]
    assert not any(torch.equal(x, alone.state.translations) for x in later)


def test_each_batch_draws_other_noise_while_gradients_accumulate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = FlowModule(network=TINY)
    batch = batch_of(*items())
    first, second = (loss_of(module, batch, monkeypatch)["loss"].item() for _ in range(2))
    assert module.batches == 2
    assert first != second


def test_a_loss_that_is_no_number_names_the_term_and_the_chain() -> None:
    fine = LossTerm(torch.ones(2), torch.ones(2, dtype=torch.int64), torch.zeros(2))
    bad = replace(fine, value=torch.tensor([1.0, float("nan")]))
    terms = {"translation": fine, "chi": bad}
    total = fine.mean + bad.mean
    with pytest.raises(BadLoss, match=r"batch 9.*chi is nan for bbbb_1_B$"):
        check_loss(total, terms, LossWeights(), ["aaaa_1_A", "bbbb_1_B"], 9)


def test_a_network_that_went_bad_stops_training_and_the_batch_is_kept(
    dataset: Path, tmp_path: Path
) -> None:
    bad = FlowNetwork(TINY)
    torch.nn.init.constant_(bad.types.weight, float("inf"))
    save_flow(tmp_path / "bad.ckpt", bad.state_dict(), CheckpointInfo(network=TINY))
    with pytest.raises(BadLoss, match=r"is nan for \w+.*bad_batch_1_rank0\.pt"):
        fit(dataset, tmp_path / "run", 2, model__init_from=tmp_path / "bad.ckpt")
    batch = torch.load(tmp_path / "run" / "bad_batch_1_rank0.pt", weights_only=True)
    assert batch["chain_uid"]


def test_a_gradient_that_is_no_number_names_the_chains_of_the_step_and_keeps_its_batches(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = FlowNetwork.forward

    def spoiled(self: FlowNetwork, *arguments: Any, **options: Any) -> Any:
        prediction = forward(self, *arguments, **options)
        if prediction.logits.requires_grad:
            prediction.logits.register_hook(lambda gradient: gradient * float("nan"))
        return prediction

    monkeypatch.setattr(FlowNetwork, "forward", spoiled)
    with pytest.raises(BadLoss, match="its gradient is not") as raised:
        fit(dataset, tmp_path / "run", 2, trainer__accumulate_grad_batches=2)
    sentence = str(raised.value)
    kept = sorted((tmp_path / "run").glob("bad_batch_*_rank0.pt"))
    assert [path.name for path in kept] == ["bad_batch_1_rank0.pt", "bad_batch_2_rank0.pt"]
    for path in kept:
        assert str(path) in sentence
        for uid in torch.load(path, weights_only=True)["chain_uid"]:
            assert uid in sentence


class _Late:
    """An answer that does not come before it is waited for, as from a busy GPU."""

    def __init__(self, value: torch.Tensor):
        self.value = value

    def has_come(self) -> bool:
        return False

    def is_yes(self) -> bool:
        return bool(self.value)


@pytest.mark.parametrize(
    ("wrong", "checkpoints", "logs", "kept"),
    [
        ("the loss is not finite: sequence is nan", 1, 100, 2),
        ("its gradient is not", 3, 100, None),
        ("the loss is not finite: sequence is nan", 100, 3, None),
    ],
)
def test_a_number_that_is_none_stops_training_before_a_checkpoint_though_it_is_known_late(
    wrong: str,
    checkpoints: int,
    logs: int,
    kept: int | None,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = FlowNetwork.forward

    def spoiled(self: FlowNetwork, *arguments: Any, **options: Any) -> Any:
        prediction = forward(self, *arguments, **options)
        if not prediction.logits.requires_grad:
            return prediction
        seen.append(1)
        if len(seen) != 3:
            return prediction
        if "gradient" in wrong:
            prediction.logits.register_hook(lambda gradient: gradient * float("nan"))
            return prediction
        return replace(prediction, logits=prediction.logits * float("nan"))

    seen: list[int] = []
    monkeypatch.setattr(FlowNetwork, "forward", spoiled)
    monkeypatch.setattr(late_checks, "ask", _Late)
    with pytest.raises(BadLoss, match=f"^batch 3: .*{wrong}.*bad_batch_3_rank0.pt"):
        fit(
            *(dataset, tmp_path / "run", 9),
            model__tasks={task: float(task == "design") for task in TASKS},
            trainer__log_every_n_steps=logs,
            last__every_n_steps=checkpoints,
            **NO_VALIDATION,
        )
    assert len(seen) == 3, "what is made of it is neither kept nor shown"
    assert [p.name for p in (tmp_path / "run").glob("bad_*")] == ["bad_batch_3_rank0.pt"]
    assert last(tmp_path / "run").exists() == (kept is not None)
    if kept is not None:
        stored = torch.load(last(tmp_path / "run"), weights_only=True)
        assert stored["global_step"] == kept
        assert all(torch.isfinite(x).all() for x in stored["state_dict"].values())


def test_the_loss_that_is_logged_is_that_of_a_batch_however_many_are_accumulated(
    dataset: Path, tmp_path: Path
) -> None:
    still: dict[str, Any] = {"model__optimizer__lr": 1e-12, "data__val_split": None}
    fit(dataset, tmp_path / "one", 4, **still, trainer__log_every_n_steps=4)
    fit(
        dataset,
        tmp_path / "four",
        1,
        **still,
        trainer__accumulate_grad_batches=4,
        trainer__log_every_n_steps=1,
    )
    one, four = (logged(tmp_path / name)[-1] for name in ("one", "four"))
    for name in ("train/loss", "train/chi"):
        assert float(four[name]) == pytest.approx(float(one[name]), rel=1e-5)


def test_a_spatial_crop_is_refused_where_frames_are_hidden(dataset: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data__crop": "spatial", "model__tasks__inpainting": 0}
    with pytest.raises(UsageError, match=r"contiguous, or set to 0 model\.tasks\.unconditional$"):
        fit(dataset, tmp_path / "hidden", 1, **options)
    fit(dataset, tmp_path / "given", 1, **options, model__tasks__unconditional=0)
    assert last(tmp_path / "given").is_file()


MISTAKES = {
    "data.path=nowhere": "nowhere: has no build.json",
    "model.init_from=nowhere.ckpt": "there is no checkpoint nowhere",
    "data.clusters=families": "no column 'families'",
    "data.where=lenth > 3": "lenth",
    "data.train_split=training": "training",
    "watch.vis_heads=[7]": "there is no head 7",
    "trainer.max_steps=-1": "has to know its end",
    "model.optimizer.lr=0": "lr is above 0",
    "model.loss.chi=-1": "the weight of chi",
    "ckpt_path=nowhere.ckpt": "nowhere.ckpt",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_a_sentence_and_leaves_no_run_folder(
    mistake: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        **SMALL,
        "data.path": dataset,
        "run.dir": tmp_path / "runs" / "first",
        "trainer.max_steps": 2,
    }
    words |= {"model.optimizer.schedule": "cosine", "data.num_workers": 0}
    given = [f"--{name}={text_of(value)}" for name, value in words.items()]
    assert main(["fit", *given, f"--{mistake}"]) in (1, 2)
    (sentence,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert MISTAKES[mistake] in sentence
    assert not list(tmp_path.iterdir())


WRONG = {
    "atom14_positions": (lambda b: b["atom14_positions"][1, 2, 1].fill_(float("nan")), "bbbb_1_B"),
    "rotmats": (lambda b: b["rotmats"][0, 3].fill_(float("inf")), "aaaa_1_A"),
    "aatype": (lambda b: b["aatype"][1, 0].fill_(21), "bbbb_1_B"),
    "lengths": (lambda b: b["lengths"][0].fill_(0), "aaaa_1_A"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_batch_names_the_key_and_the_chain(key: str) -> None:
    batch = batch_of(*items())
    check_batch(batch)
    spoil, uid = WRONG[key]
    spoil(batch)
    with pytest.raises(BadBatch, match=rf"^{uid}: {key}"):
        check_batch(batch)


def test_a_batch_without_a_key_or_of_another_shape_is_refused() -> None:
    batch = batch_of(*items())
    missing = {key: value for key, value in batch.items() if key != "trans"}
    with pytest.raises(BadBatch, match=r"aaaa_1_A, bbbb_1_B has no 'trans'"):
        check_batch(missing)
    with pytest.raises(BadBatch, match="trans of aaaa_1_A, bbbb_1_B has shape"):
        check_batch({**batch, "trans": batch["trans"][:, :-1]})


def test_what_is_not_resolved_may_hold_anything() -> None:
    batch = batch_of(unresolved(random_item("a", 6, 0), 2))
    batch["atom14_positions"][0, 2] = float("nan")
    batch["rotmats"][0, 2] = float("nan")
    check_batch(batch)


def test_fine_tuning_takes_the_weights_that_fit_and_names_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    given = FlowNetwork(TINY)
    path = tmp_path / "given.ckpt"
    save_flow(path, given.state_dict(), CheckpointInfo(network=TINY))
    module = FlowModule(network=replace(TINY, n_blocks=2, c_hidden=8))
    with caplog.at_level("INFO"):
        module.load_initial(str(path))
    mine = module.network
    assert torch.equal(mine.types.weight, given.types.weight)
    assert "blocks.1.norm.weight is not there" in caplog.text
    assert "there and" in caplog.text  # a weight of another shape
    other = FlowModule(network=TINY)
    other.load_initial(str(path))
    weights = other.network.state_dict()
    assert all(torch.equal(weights[name], given.state_dict()[name]) for name in weights)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_configuration_is_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["fit", "--config", str(path), "--data.path", "x", "--print_config"])
    assert done.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    config = NetworkConfig(**printed["model"]["network"])
    assert config.attention == "iga"
    # Sizes that do not fit each other would show in a step; in 16 bits, as on a GPU.
    module = FlowModule(config)
    noisy, target, _ = module.corrupted(batch_of(*items()), 1)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = module.network(noisy)
    total, _ = FlowLoss()(noisy, prediction, target)
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in module.parameters())


def test_small_is_what_the_tests_train() -> None:
    """The runs above are of the network whose weights other tests make."""
    assert {k.rpartition(".")[2]: v for k, v in SMALL.items() if "network" in k} == {
        name: getattr(TINY, name)
        for name in ("n_blocks", "c_s", "c_z", "n_heads", "c_hidden", "n_gaussians", "n_points")
    }
