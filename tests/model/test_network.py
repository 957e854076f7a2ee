"""The network: symmetries, padding, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import roma
import torch

from model.attention import ATTENTIONS, GaussianAttention
from model.flow import (
    TASKS,
    Flow,
    NoisyProtein,
    Prediction,
    clean_from_batch,
    draw_noise,
    draw_times,
)
from model.flow.product import self_conditioning
from model.flow.slots import existing_slots
from model.flow.tasks import held_for
from model.gaussian_rigid import GaussianRigid
from model.network import BlockInput, FlowNetwork, NetworkConfig
from model.network.ellipsoids import Ellipsoids
from model.torsions import build, free_chi
from pipeline.errors import UsageError
from pipeline.geometry.gaussians import rotamer_moments
from tests.support.flow_batches import UIDS, batch_of, three_proteins, unresolved


def small(attention: str = "iga") -> FlowNetwork:
    torch.manual_seed(1)
    sizes = {"n_blocks": 2, "c_s": 16, "c_z": 8, "n_heads": 2, "c_hidden": 4, "n_points": 2}
    config = NetworkConfig(attention=attention, n_gaussians=2, **sizes)  # type: ignore[arg-type]
    network = FlowNetwork(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def test_dropout_loses_features_in_training_alone() -> None:
    plain, noisy = small(), noisy_for("packing")
    network = FlowNetwork(replace(plain.config, dropout=0.5))
    network.load_state_dict(plain.state_dict())
    for name, value in told(network.eval()(noisy)).items():
        assert torch.equal(value, told(plain(noisy))[name]), name
    network.train()
    torch.manual_seed(0)
    first, second = network(noisy), network(noisy)
    assert not torch.allclose(first.logits, second.logits)
    torch.manual_seed(0)
    assert torch.equal(network(noisy).logits, first.logits)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_no_dropout_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="dropout"):
        NetworkConfig(dropout=share)


def told(prediction: Prediction) -> dict[str, torch.Tensor]:
    """All that a prediction says, (B, N, …) each; of χ, given some χ before it."""
    some = torch.ones(*prediction.chi.sequence.shape, 4)
    log_p, offsets = prediction.chi.given(some)
    names = ("rotations", "translations", "torsion", "chi_of_blocks", "logits", "confidence")
    # A bin that a π-periodic torsion does not have.
    chi = torch.cat([log_p.clamp(min=-50.0), offsets], -1)
    return {"chi": chi, **{name: getattr(prediction, name) for name in names}}


def noisy_for(task: str, step: int = 0) -> NoisyProtein:
    items = three_proteins()
    items[2] = unresolved(items[2], 2)
    clean = clean_from_batch(batch_of(*items))
    noise = draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], 0, step)
    held = held_for(torch.full((3,), TASKS.index(task)), clean, noise)  # type: ignore[arg-type]
    return Flow().corrupt(clean, draw_times(held, noise), noise)[0]


@pytest.fixture(params=ATTENTIONS)
def network(request: pytest.FixtureRequest) -> FlowNetwork:
    return small(request.param)


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_turning_and_moving_the_protein_turns_and_moves_the_prediction(
    task: str, network: FlowNetwork
) -> None:
    noisy = noisy_for(task)
    turn = roma.random_rotmat()
    shift = torch.tensor([120.0, -140.0, 90.0])  # 20 nm
    state = noisy.state
    moved = replace(
        noisy,
        state=replace(
            state,
            rotations=turn @ state.rotations,
            translations=state.translations @ turn.T + shift,
        ),
    )
    a, b = network(noisy), network(moved)
    mask = noisy.mask
    for name, value in told(a).items():
        if name not in ("rotations", "translations"):
            assert (value - told(b)[name])[mask].abs().max() < 2e-3, name
    assert (turn @ a.rotations - b.rotations)[mask].abs().max() < 1e-3
    assert (a.translations @ turn.T + shift - b.translations)[mask].abs().max() < 1e-2


@torch.no_grad()
def test_a_mirror_image_is_another_protein(network: FlowNetwork) -> None:
    noisy = noisy_for("packing")
    mirror = torch.tensor([1.0, 1.0, -1.0])
    state = noisy.state
    # The mirrored frame is made right-handed again by turning its third axis back.
    mirrored = replace(
        noisy,
        state=replace(
            state,
            rotations=state.rotations * mirror[:, None] * mirror,
            translations=state.translations * mirror,
            backbone=state.backbone * mirror,
            atoms=state.atoms * mirror,
        ),
    )
    a, b = network(noisy), network(mirrored)
    assert (a.logits - b.logits)[noisy.mask].abs().max() > 1e-3


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_padding_and_the_rest_of_the_batch_change_nothing(task: str, network: FlowNetwork) -> None:
    noisy = noisy_for(task)
    noisy = replace(noisy, self_conditioning=self_conditioning(noisy, network(noisy)))
    together = network(noisy)
    for b, n in enumerate((9, 14, 5)):

        def cut(x: torch.Tensor, n: int = n) -> torch.Tensor:
            return x[:, :n] if x.ndim > 1 else x

        alone = network(noisy[b : b + 1].map(cut))
        for name, value in told(alone).items():
            difference = value[0] - told(together)[name][b, :n]
            assert difference[noisy.mask[b, :n]].abs().max() < 1e-4, name


@torch.no_grad()
def test_the_order_of_residues_is_told_by_their_index_alone(network: FlowNetwork) -> None:
    noisy = noisy_for("unconditional")[1:2]
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    shuffled = noisy.map(lambda x: x[:, order])
    a, b = network(noisy), network(shuffled)
    for name in ("chi", "chi_of_blocks"):
        assert (told(a)[name][:, order] - told(b)[name]).abs().max() < 1e-4
    assert (a.translations[:, order] - b.translations).abs().max() < 1e-4


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_held_frames_and_atoms_come_back_bit_by_bit(task: str, network: FlowNetwork) -> None:
    noisy = noisy_for(task, step=3)
    prediction = network(noisy)
    flow = Flow()
    frames, atoms, sequence = (
        modality.to_clean(noisy, prediction)
        for modality in (flow.frames, flow.atoms, flow.sequence)
    )
    held = noisy.times.frames == 1
    for mine, given in zip(frames, ("rotations", "translations", "backbone"), strict=True):
        assert torch.equal(mine[held], getattr(noisy.state, given)[held])
    assert torch.equal(prediction.rotations[held], noisy.state.rotations[held])
    held = noisy.times.atoms == 1
    assert torch.equal(atoms[held], noisy.state.atoms[held])
    held = noisy.times.sequence == 1
    assert torch.equal(sequence[held], noisy.state.sequence[held])


def test_gradients_reach_every_parameter_and_are_finite() -> None:
    for attention in ATTENTIONS:
        network = small(attention).train()
        noisy = noisy_for("unconditional")
        with torch.no_grad():
            noisy = replace(noisy, self_conditioning=self_conditioning(noisy, network(noisy)))
        out = network(noisy)
        mask = noisy.mask
        total = sum(value[mask].square().sum() for value in told(out).values())
        # |R|² is constant: something of the rotation that is not.
        (total + out.rotations[mask][:, 0].sum()).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            # Types that are not in the batch, and relative places beyond it, are not reached.
            if "pairs.held" not in name:
                assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_a_new_network_predicts_frames_where_they_are() -> None:
    network = FlowNetwork(NetworkConfig(n_blocks=1, c_s=16, c_z=8, n_heads=2)).eval()
    noisy = noisy_for("unconditional")
    prediction = network(noisy)
    assert torch.allclose(prediction.translations, noisy.state.translations, atol=1e-5)
    assert torch.allclose(prediction.rotations, noisy.state.rotations, atol=1e-5)


@torch.no_grad()
def test_what_each_attention_is_given_can_be_captured(network: FlowNetwork) -> None:
    noisy = noisy_for("packing")
    capture: list[BlockInput] = []
    network(noisy, capture)
    assert len(capture) == 2
    for block, given in zip(network.blocks, capture, strict=True):
        out = block.attention(given.s, given.z, given.rigid, given.mask)  # type: ignore[operator]
        assert out.shape == given.s.shape


def test_geometry_stays_in_float32_under_bf16() -> None:
    network = small()
    noisy = noisy_for("unconditional")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(noisy)
    for name, value in told(half).items():
        assert value.dtype == torch.float32, name
    turned = half.rotations.transpose(-1, -2) @ half.rotations
    assert (turned - torch.eye(3)).abs().max() < 1e-5


def test_networks_of_all_attentions_have_parameters_within_two_percent() -> None:
    sizes = [
        sum(p.numel() for p in FlowNetwork(NetworkConfig(attention=kind)).parameters())
        for kind in ATTENTIONS
    ]
    assert max(sizes) - min(sizes) < 0.02 * min(sizes)


def test_an_attention_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attention is one of iga, .*found 'mha'"):
        NetworkConfig(attention="mha")  # type: ignore[arg-type]


def test_an_attention_that_is_entered_is_one_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Third(GaussianAttention):
        pass

    monkeypatch.setitem(ATTENTIONS, "third", Third)
    assert isinstance(small("third").blocks[0].attention, Third)


@pytest.mark.parametrize("name", ["n_blocks", "c_s", "n_heads", "n_gaussians"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        NetworkConfig(**{name: 0})


@torch.no_grad()
def test_what_is_told_of_a_pair_is_the_sum_of_what_each_feature_tells() -> None:
    network = small()
    noisy = noisy_for("inpainting")
    noisy = replace(noisy, self_conditioning=self_conditioning(noisy, network(noisy)))
    pairs, earlier = network.pairs, noisy.self_conditioning
    assert earlier is not None
    held = noisy.times.frames == 1
    both, either = (f(held[:, :, None], held[:, None]) for f in (torch.minimum, torch.maximum))
    assert (
        len({(int(a), int(b)) for a, b in zip(both.flatten(), either.flatten(), strict=True)}) == 3
    )
    expected = (
        pairs.distance(pairs._bins(noisy.state.translations))
        + pairs.earlier(pairs._bins(earlier.translations) + 1)
        + pairs.held(torch.stack([both, either], -1).float())
    )
    found = torch.nn.functional.embedding(pairs._kinds(noisy), pairs._table())
    assert (found - expected).abs().max() < 1e-6


def test_no_earlier_prediction_is_no_feature_and_learns_nothing() -> None:
    network = small()
    network(noisy_for("design")).logits.square().sum().backward()
    gradient = network.pairs.earlier.weight.grad
    assert gradient is not None
    assert not gradient[0].any()
    again = noisy_for("design")
    again = replace(again, self_conditioning=self_conditioning(again, network(again)))
    network(again).logits.square().sum().backward()
    assert not gradient[0].any()
    assert gradient[1:].any()


@pytest.mark.parametrize("task", ["packing", "design"])
@torch.no_grad()
def test_a_side_chain_that_does_not_turn_is_one_conformation_of_all_its_rotamers(task: str) -> None:
    network, noisy = small(), noisy_for(task)
    rotamers = network(noisy).chi.rotamers()
    state, body = noisy.state, existing_slots(noisy.state.sequence)
    built = build(rotamers.chi, state.sequence, state.backbone, noisy.mask)
    expected = rotamer_moments(state.backbone, built, body, rotamers.weight)
    hidden = noisy.mask & (noisy.times.atoms < 1)
    turning = free_chi(state.sequence)[..., 0]
    assert (turning & hidden).any()
    assert (~turning & hidden).any()
    frames = (state.rotations, state.translations)
    found = Ellipsoids(noisy).of(*frames, rotamers)
    wanted = GaussianRigid.from_moments(*frames, *expected, noisy.mask)
    assert (found.local_mean - wanted.local_mean)[hidden].abs().max() < 1e-5
    assert (found.log_scale - wanted.log_scale)[hidden].abs().max() < 1e-5


@pytest.mark.parametrize("task", ["packing", "design"])
def test_what_moves_frames_has_a_gradient_of_zero_where_all_are_held(task: str) -> None:
    network, noisy = small(), noisy_for(task)
    prediction = network(noisy)
    assert torch.equal(prediction.translations, noisy.state.translations)
    sum(told(prediction)[name].square().sum() for name in told(prediction)).backward()
    for block in network.blocks:
        for parameter in block.update_frames.parameters():
            assert parameter.grad is not None
            assert not parameter.grad.any()
