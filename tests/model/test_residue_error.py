"""The error to expect of a sample: of side chains by their rotamers, of frames by asking again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.flow import Clean, Held, NoisyProtein, Prediction, ProteinState, clean_from_batch
from model.flow.generate import generate
from model.flow.residue_error import expected_frame_error, side_chain_error
from model.flow.slots import existing_slots, swapped
from model.torsions import Rotamers, build, chi_angles, free_chi
from tests.support.flow_batches import UIDS, batch_of, certain, random_item, three_proteins

OWN_ERROR = 0.5


@pytest.fixture
def clean() -> Clean:
    return clean_from_batch(batch_of(*three_proteins()))


def held_in(task: str, clean: Clean) -> Held:
    yes, no = clean.mask, torch.zeros_like(clean.mask)
    return {"packing": Held(yes, no, yes), "unconditional": Held(no, no, no)}[task]


def as_state(clean: Clean, shift: float = 0.0) -> ProteinState:
    return ProteinState(
        clean.rotations,
        clean.translations + torch.tensor([0.0, shift, 0.0]),
        clean.backbone,
        clean.atoms,
        clean.sequence,
    )


class Knowing:
    """A network that predicts this protein whatever it is given, and errs by half an Å by its own
    account."""

    def __init__(self, clean: Clean):
        self.clean = clean
        self.seen: list[NoisyProtein] = []

    def __call__(self, noisy: NoisyProtein) -> Prediction:
        self.seen.append(noisy)
        clean = self.clean
        b, n = noisy.mask.shape
        chi, _ = chi_angles(clean.backbone, clean.atoms, clean.atoms_mask, clean.sequence)
        centre = noisy.state.translations * noisy.mask[..., None]
        return Prediction(
            rotations=noisy.state.rotations,
            # x₁ is turned and moved before it is noised; a network at its own x_t moves nothing.
            translations=centre,
            torsion=torch.zeros(b, n, 2),
            chi=certain(chi, noisy.state.sequence),
            chi_of_blocks=torch.zeros(b, n, 0, 4, 36),
            logits=torch.zeros(b, n, 20),
            confidence=torch.full((b, n), OWN_ERROR).log1p(),
        )


def two_rotamers(clean: Clean) -> tuple[Rotamers, ProteinState, Tensor]:
    """χ1 twice, a third of a turn apart, 0.75 and 0.25; a state of the first."""
    chi = torch.zeros(*clean.mask.shape, 2, 4) + 1.0
    chi[..., 1, 0] += 2.0
    weight = torch.tensor([0.75, 0.25]).expand(*clean.mask.shape, 2)
    rotamers = Rotamers(chi, weight, torch.zeros(*clean.mask.shape, 4, 36))
    built = build(chi, clean.sequence, clean.backbone, clean.mask)
    return rotamers, replace(as_state(clean), atoms=built[..., 0, :, :]), built


def test_what_is_expected_is_the_mean_distance_to_the_rotamers(clean: Clean) -> None:
    rotamers, state, built = two_rotamers(clean)
    found, probability = side_chain_error(rotamers, state, clean.mask)
    slots = existing_slots(clean.sequence)
    second = built[..., 1, :, :]
    squared = [
        ((built[..., 0, :, :] - named).square().sum(-1) * slots).sum(-1)
        for named in (second, swapped(second, clean.sequence))
    ]
    rmsd = torch.sqrt(torch.minimum(*squared) / slots.sum(-1).clamp(min=1))
    turns = free_chi(clean.sequence).any(-1) & clean.mask
    assert (rmsd[turns] > 0.1).all()
    assert torch.allclose(found[turns], 0.25 * rmsd[turns], atol=1e-4)
    assert found[~turns].max() < 1e-4
    assert torch.allclose(probability[turns], torch.tensor(0.75))
    assert torch.isnan(probability[~turns]).all()


def test_of_two_side_chains_the_likelier_is_expected_to_be_better(clean: Clean) -> None:
    rotamers, likely, built = two_rotamers(clean)
    unlikely = replace(likely, atoms=built[..., 1, :, :])
    (small, high), (large, low) = (
        side_chain_error(rotamers, state, clean.mask) for state in (likely, unlikely)
    )
    some = free_chi(clean.sequence).any(-1) & clean.mask
    assert (small[some] < large[some]).all()
    assert (high[some] > low[some]).all()


def test_equivalent_atoms_may_have_either_name(clean: Clean) -> None:
    rotamers, state, _ = two_rotamers(clean)
    renamed = replace(state, atoms=swapped(state.atoms, state.sequence))
    assert not torch.equal(renamed.atoms, state.atoms)
    errors = [side_chain_error(rotamers, one, clean.mask)[0] for one in (state, renamed)]
    assert torch.allclose(*errors, atol=1e-5)


def test_what_is_held_has_no_error(clean: Clean) -> None:
    held = held_in("packing", clean)
    kept = clean.mask & (torch.arange(clean.mask.shape[1]) < 4)
    made = generate(Knowing(clean), clean, replace(held, atoms=kept), UIDS)
    assert (made.expected_error[kept] == 0).all()
    assert torch.isnan(made.rotamer_probability[kept]).all()
    turns = free_chi(clean.sequence).any(-1) & clean.mask & ~kept
    assert (made.rotamer_probability[turns] > 0.99).all()
    assert made.expected_error.max() < 0.1, "it is certain, and of frames nothing is open"
    free = held_in("unconditional", clean)
    found = expected_frame_error(Knowing(clean), clean, free, as_state(clean), UIDS, 0)
    assert (found[clean.mask] >= OWN_ERROR - 1e-4).all()
    assert (expected_frame_error(Knowing(clean), clean, held, as_state(clean), UIDS, 0) == 0).all()


def test_a_packing_asks_the_network_no_more_than_its_passes(clean: Clean) -> None:
    network = Knowing(clean)
    generate(network, clean, held_in("packing", clean), UIDS, passes=3)
    assert len(network.seen) == 3
    assert network.seen[0].self_conditioning is None
    assert all(noisy.self_conditioning is not None for noisy in network.seen[1:])


def test_nothing_of_the_answer_is_read(clean: Clean) -> None:
    held, state = held_in("unconditional", clean), as_state(clean)
    other = replace(clean, translations=torch.full_like(clean.translations, torch.nan))
    networks = [Knowing(clean) for _ in range(2)]
    found = [
        expected_frame_error(network, problem, held, state, UIDS, 0)
        for network, problem in zip(networks, (clean, other), strict=True)
    ]
    assert torch.equal(*found)
    for name in ("translations", "atoms", "sequence"):
        assert torch.equal(*(getattr(n.seen[0].state, name) for n in networks))


def test_a_protein_is_judged_alike_alone_and_beside_one_of_another_task() -> None:
    clean = clean_from_batch(batch_of(random_item("a", 8, 1), random_item("b", 11, 2)))
    packing, free = held_in("packing", clean), held_in("unconditional", clean)
    mixed = Held(
        *(
            torch.stack([getattr(packing, name)[0], getattr(free, name)[1]])
            for name in ("frames", "atoms", "sequence")
        )
    )
    together = Knowing(clean)
    both = generate(together, clean, mixed, ["a", "b"], steps=2)
    alone = clean[:1].map(lambda x: x[:, :8])
    single = generate(Knowing(alone), alone, held_in("packing", alone), ["a"], steps=2)
    assert torch.allclose(both.expected_error[:1, :8], single.expected_error, atol=1e-5)
    assert torch.equal(both.state.atoms[:1, :8], single.state.atoms)
    assert both.expected_error[1].min() > 0.4


def test_a_language_model_has_not_read_a_sequence_that_was_made(clean: Clean) -> None:
    embedded = replace(clean, embedding=torch.ones(*clean.mask.shape, 4))
    network, state = Knowing(clean), as_state(clean)
    free = held_in("unconditional", clean)
    for held in (replace(free, sequence=clean.mask), free):
        expected_frame_error(network, embedded, held, state, UIDS, 0)
    given = [noisy.embedding_given for noisy in network.seen]
    assert given[0] is not None
    assert given[0].all()
    assert given[1] is not None
    assert not given[1].any()
