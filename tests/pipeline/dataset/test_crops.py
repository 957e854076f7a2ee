"""Crops of complexes: their size, their sides, their shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.dataset import (
    ContiguousCrop,
    Crop,
    CropShares,
    InterfaceCrop,
    MixedCrop,
    SpatialCrop,
)
from pipeline.dataset.crops import CONTACT, contacts
from pipeline.errors import UsageError
from pipeline.seeded import seeded

KINDS = (ContiguousCrop, SpatialCrop, InterfaceCrop, MixedCrop)


def complex_of(
    lengths: list[int], seed: int, *, spread: float = 6.0, unresolved: float = 0.1
) -> dict[str, Any]:
    """Chains that wander about one place, some residues without CB and some not seen."""
    random = np.random.default_rng(seed)
    n = sum(lengths)
    steps = [np.cumsum(random.normal(0, 2, (k, 3)), 0) for k in lengths]
    ca = np.concatenate([s + random.normal(0, spread, 3) for s in steps])
    positions = np.zeros((n, 14, 3), np.float32)
    positions[:, 1] = ca
    positions[:, 4] = ca + random.normal(0, 1, (n, 3))
    mask = np.zeros((n, 14), bool)
    mask[:, :3] = True
    mask[:, 4] = random.random(n) < 0.9
    resolved = random.random(n) >= unresolved
    mask[~resolved] = False
    positions[~mask] = 0
    return {
        "trans": torch.from_numpy(positions[:, 1].copy()),
        "residue_mask": torch.from_numpy(resolved),
        "atom14_positions": torch.from_numpy(positions),
        "atom14_mask": torch.from_numpy(mask),
        "chain_index": torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
    }


def in_focus(item: dict[str, Any], *chains: int) -> dict[str, Any]:
    return {**item, "focus": torch.isin(item["chain_index"], torch.tensor(chains))}


fewer = settings(max_examples=30)
lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@fewer
@given(lengths, st.data(), st.integers(0, 999), st.sampled_from(KINDS), st.booleans())
def test_a_crop_has_the_asked_size_and_whole_residues_in_their_order(
    lengths: list[int], data: Any, seed: int, kind: Any, focused: bool
) -> None:
    n = sum(lengths)
    size = data.draw(st.integers(2, max(2, n)))
    item = complex_of(lengths, seed, unresolved=data.draw(st.sampled_from([0.0, 0.2, 1.0])))
    if focused:
        item = in_focus(item, *range(min(2, len(lengths))))
    kept = kind(size).choose(item, seeded(seed))
    assert len(kept) == min(size, n)
    assert (kept[1:] > kept[:-1]).all()
    assert kept[0] >= 0
    assert kept[-1] < n


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_crop_and_another_seed_another(kind: Any) -> None:
    item = complex_of([60, 50, 40], 1)
    crops = [kind(30).choose(item, seeded(k, "uid")).tolist() for k in range(20)]
    assert crops == [kind(30).choose(item, seeded(k, "uid")).tolist() for k in range(20)]
    assert len(set(map(tuple, crops))) > 10


@fewer
@given(lengths, st.integers(0, 999), st.integers(2, 20))
def test_a_crop_at_an_interface_holds_both_sides_of_it(
    lengths: list[int], seed: int, size: int
) -> None:
    item = complex_of(lengths, seed)
    pairs = contacts(item)
    assume(len(pairs) and sum(lengths) > size)
    kept = set(InterfaceCrop(size).choose(item, seeded(seed)).tolist())
    assert any({a, b} <= kept for a, b in pairs.tolist())


@fewer
@given(lengths, st.integers(0, 999), st.integers(2, 20))
def test_it_is_of_the_two_chains_in_focus_however_far_apart(
    lengths: list[int], seed: int, size: int
) -> None:
    assume(len(lengths) > 1 and sum(lengths) > size)
    item = complex_of(lengths, seed, spread=30.0, unresolved=0.0)
    chain = item["chain_index"]
    for a, b in ((0, 1), (len(lengths) - 2, len(lengths) - 1)):
        kept = InterfaceCrop(size).choose(in_focus(item, a, b), seeded(seed))
        assert {a, b} <= set(chain[kept].tolist())


def test_with_one_chain_in_focus_every_pair_is_of_it_and_all_its_pairs_come() -> None:
    item = complex_of([8, 8, 8], 4, spread=4.0, unresolved=0.0)
    of_chain = [p for p in contacts(item).tolist() if 1 in item["chain_index"][p]]
    assert 0 < len(of_chain) < len(contacts(item))
    crop = InterfaceCrop(2)  # nothing but the pair
    found = {tuple(crop.choose(in_focus(item, 1), seeded(k)).tolist()) for k in range(800)}
    assert found == set(map(tuple, of_chain))


@fewer
@given(lengths, st.integers(0, 999))
def test_contacts_are_those_that_all_distances_give(lengths: list[int], seed: int) -> None:
    item = complex_of(lengths, seed)
    slot = torch.where(item["atom14_mask"][:, 4], 4, 1)
    point = item["atom14_positions"][torch.arange(len(slot)), slot].double()
    near = torch.cdist(point, point) <= CONTACT
    other = item["chain_index"][:, None] != item["chain_index"]
    seen = item["residue_mask"][:, None] & item["residue_mask"]
    expected = torch.nonzero(torch.triu(near & other & seen, 1))
    assert torch.equal(contacts(item), expected)


@pytest.mark.parametrize("focus", [(), (0,)])
def test_without_an_interface_the_neighbours_of_one_residue_remain(focus: tuple[int, ...]) -> None:
    item = complex_of([80], 2)
    item = in_focus(item, *focus) if focus else item
    crop = InterfaceCrop(20).choose(item, seeded(5))
    assert torch.equal(crop, SpatialCrop(20).choose(item, seeded(5)))


def test_a_spatial_crop_is_about_a_residue_of_the_chain_in_focus() -> None:
    item = in_focus(complex_of([50, 50, 50], 3, spread=100.0), 2)
    for k in range(20):
        kept = SpatialCrop(9).choose(item, seeded(k))
        assert 2 in item["chain_index"][kept]


@fewer
@given(lengths, st.data(), st.integers(0, 999), st.sets(st.integers(0, 5), max_size=2))
def test_a_contiguous_crop_is_a_window_of_each_chain_and_holds_those_in_focus(
    lengths: list[int], data: Any, seed: int, focus: set[int]
) -> None:
    focus &= {*range(len(lengths))}
    size = data.draw(st.integers(2, sum(lengths) + 1))
    item = complex_of(lengths, seed)
    item = in_focus(item, *focus) if focus else item
    kept = ContiguousCrop(size).choose(item, seeded(seed))
    chain = item["chain_index"][kept]
    for k in chain.unique():
        of_chain = kept[chain == k]
        assert of_chain[-1] - of_chain[0] == len(of_chain) - 1
    assert focus <= set(chain.tolist())


def test_windows_of_several_chains_come_in_all_sizes_and_places() -> None:
    item = complex_of([30, 30, 30], 0)
    crops = [ContiguousCrop(40).choose(item, seeded(k)) for k in range(600)]
    sizes = torch.stack([torch.bincount(item["chain_index"][c], minlength=3) for c in crops])
    for k in range(3):
        # No chain is preferred: 40 of 90 residues, over three chains alike.
        assert float(sizes[:, k].float().mean()) == pytest.approx(40 / 3, abs=1.5)
        assert {0, 10, 30} <= set(sizes[:, k].tolist())
    assert set(torch.cat(crops).tolist()) == set(range(90))


def test_a_mixed_crop_is_of_each_kind_as_often_as_its_share_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, kind in enumerate((ContiguousCrop, SpatialCrop, InterfaceCrop)):
        monkeypatch.setattr(kind, "choose", lambda *_, n=number: torch.tensor([n]))
    crop = MixedCrop(30, CropShares(1.0, 2.0, 5.0))
    drawn = np.bincount([int(crop.choose({}, seeded(k))) for k in range(4000)]) / 4000
    assert drawn == pytest.approx(np.array([1, 2, 5]) / 8, abs=4 * (0.25 / 4000) ** 0.5)


def test_a_mixed_crop_reads_nothing_for_kinds_that_are_never_drawn() -> None:
    assert MixedCrop(9, CropShares(1, 0, 0)).fields == ContiguousCrop(9).fields
    crop: Crop = MixedCrop(9, CropShares(0, 0, 1))
    item = complex_of([30, 30], 6)
    random = seeded(1)
    random.random()
    assert torch.equal(crop.choose(item, seeded(1)), InterfaceCrop(9).choose(item, random))


@settings(max_examples=5)
@given(st.sampled_from(["contiguous", "spatial", "interface"]))
def test_wrong_shares_and_sizes_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"share of {name} crops is not negative, but -1"):
        CropShares(**{name: -1.0})
    with pytest.raises(UsageError, match="one of them is above"):
        CropShares(0, 0, 0)
    with pytest.raises(ValueError, match="two residues at least"):
        InterfaceCrop(1)
