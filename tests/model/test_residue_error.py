"""The error to expect of a sample: the network's own, and the distance to what it predicts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.flow import Clean, NoisyProtein, Prediction, clean_from_batch
from model.flow.residue_error import expected_error
from model.flow.slots import existing_slots, swapped
from model.flow.state import ProteinState
from model.flow.tasks import Held
from tests.support.flow_batches import UIDS, batch_of, random_item, three_proteins

OWN_ERROR = 0.5


@pytest.fixture
def clean() -> Clean:
    return clean_from_batch(batch_of(*three_proteins()))


def held_in(task: str, clean: Clean) -> Held:
    yes, no = clean.mask, torch.zeros_like(clean.mask)
    return {"packing": Held(yes, no, yes), "unconditional": Held(no, no, no)}[task]


def as_state(clean: Clean, atoms: Tensor) -> ProteinState:
    return ProteinState(clean.rotations, clean.translations, clean.backbone, atoms, clean.sequence)


class Knowing:
    """A network that predicts these atoms whatever it is given, and errs by half an Å by its own
    account."""

    def __init__(self, atoms: Tensor):
        self.atoms = atoms
        self.seen: list[NoisyProtein] = []

    def __call__(self, noisy: NoisyProtein) -> Prediction:
        self.seen.append(noisy)
        b, n = noisy.mask.shape
        return Prediction(
            rotations=noisy.state.rotations,
            translations=noisy.state.translations,
            torsion=torch.zeros(b, n, 2),
            atoms=self.atoms,
            logits=torch.zeros(b, n, 20),
            confidence=torch.full((b, n), OWN_ERROR).log1p(),
        )


def test_what_is_expected_is_the_networks_error_and_the_distance_to_its_prediction(
    clean: Clean,
) -> None:
    held = held_in("packing", clean)
    moved = clean.atoms + torch.tensor([0.0, 1.2, 0.0])
    found = expected_error(Knowing(clean.atoms), clean, held, as_state(clean, moved), UIDS, 0)
    has_side_chain = existing_slots(clean.sequence).any(-1) & clean.mask
    expected = torch.tensor((OWN_ERROR**2 + 1.2**2) ** 0.5)
    assert has_side_chain.sum() > 20
    assert torch.allclose(found[has_side_chain], expected, atol=1e-4)
    without = clean.mask & ~has_side_chain
    assert torch.allclose(found[without], torch.tensor(OWN_ERROR), atol=1e-4)


def test_of_two_samples_the_one_that_is_nearer_to_the_prediction_is_better(clean: Clean) -> None:
    held, network = held_in("packing", clean), Knowing(clean.atoms)
    errors = [
        expected_error(network, clean, held, as_state(clean, clean.atoms + shift), UIDS, 0)
        for shift in (0.1, 0.6)
    ]
    some = existing_slots(clean.sequence).any(-1) & clean.mask
    assert (errors[0][some] < errors[1][some]).all()


def test_equivalent_atoms_may_have_either_name(clean: Clean) -> None:
    held = held_in("packing", clean)
    renamed = as_state(clean, swapped(clean.atoms, clean.sequence))
    assert not torch.equal(renamed.atoms, clean.atoms)
    found = expected_error(Knowing(clean.atoms), clean, held, renamed, UIDS, 0)
    assert torch.allclose(found[clean.mask], torch.tensor(OWN_ERROR), atol=1e-4)


def test_what_is_held_has_no_error(clean: Clean) -> None:
    held = held_in("packing", clean)
    held = replace(held, atoms=clean.mask & (torch.arange(clean.mask.shape[1]) < 4))
    state = as_state(clean, clean.atoms)
    found = expected_error(Knowing(clean.atoms), clean, held, state, UIDS, 0)
    assert (found[held.atoms] == 0).all()
    assert (found[clean.mask & ~held.atoms] > 0.4).all()


def test_nothing_of_the_answer_is_read(clean: Clean) -> None:
    held = held_in("packing", clean)
    state = as_state(clean, clean.atoms + 0.3)
    other = replace(clean, atoms=torch.full_like(clean.atoms, torch.nan))
    networks = [Knowing(clean.atoms) for _ in range(2)]
    found = [
        expected_error(network, problem, held, state, UIDS, 0)
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
    together, one = Knowing(clean.atoms), Knowing(clean.atoms[:1, :8])
    state = as_state(clean, clean.atoms + 0.3)
    both = expected_error(together, clean, mixed, state, ["a", "b"], 0)
    alone = clean[:1].map(lambda x: x[:, :8])
    single = expected_error(
        one,
        alone,
        held_in("packing", alone),
        as_state(alone, alone.atoms + 0.3),
        ["a"],
        0,
    )
    assert torch.allclose(both[:1, :8], single, atol=1e-5)
    assert together.seen[0].times.frames[1].max() < 1
    assert (together.seen[0].times.frames[0] == 1).all()


def test_a_language_model_has_not_read_a_sequence_that_was_made(clean: Clean) -> None:
    embedded = replace(clean, embedding=torch.ones(*clean.mask.shape, 4))
    network = Knowing(clean.atoms)
    state = as_state(clean, clean.atoms)
    held = held_in("packing", clean)
    expected_error(network, embedded, held, state, UIDS, 0)
    made = replace(held, sequence=torch.zeros_like(clean.mask))
    expected_error(network, embedded, made, state, UIDS, 0)
    given = [noisy.embedding_given for noisy in network.seen]
    assert given[0] is not None
    assert given[0].all()
    assert given[1] is not None
    assert not given[1].any()
