"""No leaks: what is hidden never reaches the network, for any task."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from model.attention import ATTENTIONS
from model.flow import (
    TASKS,
    Clean,
    Flow,
    Held,
    NoisyProtein,
    Times,
    clean_from_batch,
    draw_noise,
    draw_times,
)
from model.flow.generate import generate
from model.flow.product import self_conditioning
from model.flow.tasks import held_for
from model.network import FlowNetwork, NetworkConfig
from model.tensor_record import TensorRecord
from tests.support.flow_batches import (
    UIDS,
    batch_of,
    three_proteins,
    unresolved,
    with_garbage,
    without_atoms,
)

E = 6


@pytest.fixture(scope="module", params=ATTENTIONS)
def network(request: pytest.FixtureRequest) -> FlowNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(
        attention=request.param, n_blocks=2, c_s=16, c_z=8, n_heads=2, c_hidden=4, n_points=2,
        n_gaussians=2, c_embedding=E,
    )  # fmt: skip
    network = FlowNetwork(config).eval()
    # Heads that start at zero would hide what reaches them.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="module")
def clean() -> Clean:
    items = three_proteins()
    items[1] = unresolved(items[1], 3)
    items[0] = without_atoms(items[0], 5, 4)
    batch = batch_of(*items)
    g = torch.Generator().manual_seed(5)
    batch["embedding"] = torch.randn(3, 14, E, generator=g)
    return clean_from_batch(batch)


def held_and_noise(task: str, clean: Clean, step: int):
    noise = draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], 0, step)
    tasks = torch.full((3,), TASKS.index(task))  # type: ignore[arg-type]
    return held_for(tasks, clean, noise), noise


def at_zero(held: Held) -> Times:
    return held.times(0.0, 0.0)


def bits(record: object) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            found[field.name] = value
        elif isinstance(value, TensorRecord):
            found |= {f"{field.name}.{key}": v for key, v in bits(value).items()}
    return found


SOME_HAVE_NONE = {"rotamer_probability"}
"""Is no number where no torsion was made."""


def assert_same_bits(a: object, b: object) -> None:
    one, other = bits(a), bits(b)
    assert one.keys() == other.keys()
    for name in one:
        mine, others = one[name], other[name]
        if name in SOME_HAVE_NONE:
            assert torch.equal(mine.isnan(), others.isnan()), name
            mine, others = mine.nan_to_num(), others.nan_to_num()
        assert torch.equal(mine, others), name
        assert torch.isfinite(mine.float()).all(), name


def predict(network: FlowNetwork, noisy: NoisyProtein) -> tuple[NoisyProtein, object]:
    """Two passes, the second with the first as self-conditioning."""
    with torch.no_grad():
        first = network(noisy)
        again = replace(noisy, self_conditioning=self_conditioning(noisy, first))
        return again, network(again)


@pytest.mark.parametrize("task", TASKS)
def test_at_time_0_all_that_is_hidden_can_be_garbage(
    task: str, clean: Clean, network: FlowNetwork
) -> None:
    for step in range(3):
        held, noise = held_and_noise(task, clean, step)
        times = at_zero(held)
        honest, _ = Flow().corrupt(clean, times, noise)
        fooled, _ = Flow().corrupt(with_garbage(clean, held), times, noise)
        assert_same_bits(honest, fooled)
        for a, b in zip(predict(network, honest), predict(network, fooled), strict=True):
            assert_same_bits(a, b)


def test_an_oxygen_that_is_made_does_not_tell_of_a_hidden_neighbour(clean: Clean) -> None:
    held, noise = held_and_noise("inpainting", clean, 0)
    own = clean.map(torch.clone)
    own.oxygen_mask[0, 0] = False
    frames = held.frames.clone()
    frames[0, :3] = torch.tensor([True, False, True])
    held = replace(held, frames=frames)
    carbon = own.rotations[0, 0] @ own.backbone[0, 0, 2] + own.translations[0, 0]
    made = []
    for direction in torch.eye(3):
        nitrogen = own.rotations[0, 1] @ own.backbone[0, 1, 0]
        own.translations[0, 1] = carbon + 1.33 * direction - nitrogen
        noisy, _ = Flow().corrupt(own.map(torch.clone), at_zero(held), noise)
        made.append(noisy.state.backbone[0, 0, 3])
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    frames[0, 1] = True
    noisy, _ = Flow().corrupt(own, at_zero(replace(held, frames=frames)), noise)
    assert not torch.allclose(noisy.state.backbone[0, 0, 3], made[0], atol=0.1)


@pytest.mark.parametrize("task", TASKS)
def test_between_the_times_only_x_t_is_left_of_the_batch(
    task: str, clean: Clean, network: FlowNetwork
) -> None:
    held, noise = held_and_noise(task, clean, 1)
    own = clean.map(torch.clone)
    noisy, _ = Flow().corrupt(own, draw_times(held, noise), noise)
    before = noisy.map(torch.clone)
    expected = predict(network, before)
    # The batch is overwritten in place: whatever shares its memory changes, too.
    for name, tensor in bits(own).items():
        if name not in ("residue_index", "chain_index", "mask"):
            tensor.copy_(torch.ones_like(tensor) if tensor.dtype == torch.bool else tensor * 0 + 3)
    assert_same_bits(noisy, before)
    for a, b in zip(expected, predict(network, noisy), strict=True):
        assert_same_bits(a, b)


@pytest.mark.parametrize("task", TASKS)
def test_the_test_would_notice_a_leak(task: str, clean: Clean, network: FlowNetwork) -> None:
    """Garbage in what is held does change the outcome, so equality above means something."""
    held, noise = held_and_noise(task, clean, 0)
    times = at_zero(held)
    honest, _ = Flow().corrupt(clean, times, noise)
    if task == "unconditional":
        changed = replace(honest, residue_index=honest.residue_index * 3)
    else:
        moved = replace(clean, translations=clean.translations * 1.5)
        changed, _ = Flow().corrupt(moved, times, noise)
    with torch.no_grad():
        assert not torch.equal(network(honest).chi.features, network(changed).chi.features)


@pytest.mark.parametrize("task", ["design", "inpainting", "unconditional"])
def test_embeddings_are_not_used_while_a_type_is_hidden(task: str, clean: Clean) -> None:
    held, noise = held_and_noise(task, clean, 0)
    noisy, _ = Flow().corrupt(clean, at_zero(held), noise)
    assert noisy.embedding is not None
    assert noisy.embedding_given is not None
    whole = (held.sequence | ~clean.mask).all(1)
    assert torch.equal(noisy.embedding_given, whole)
    assert (noisy.embedding[~whole] == 0).all()


@pytest.mark.parametrize("task", TASKS)
def test_samples_are_the_same_whatever_the_hidden_values_were(
    task: str, clean: Clean, network: FlowNetwork
) -> None:
    held, _ = held_and_noise(task, clean, 2)
    honest = generate(network, clean, held, UIDS, steps=3)
    fooled = generate(network, with_garbage(clean, held), held, UIDS, steps=3)
    assert_same_bits(honest, fooled)
