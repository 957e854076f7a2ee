"""Splits as pure functions: components are never cut, shares are kept, order is of no account."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.split.assign import NO_SPLIT, Assignment, assign_splits, share_out
from pipeline.split.chains import Chains
from pipeline.split.components import connected_components, hub_clusters
from pipeline.split.leaks import find_leaks
from pipeline.split.options import SplitOptions
from pipeline.split.split_list import SplitList

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def options(**values: object) -> SplitOptions:
    return SplitOptions(**{"dataset": Path("nowhere"), "clusters": "identical", **values})


def chains_of(rows: list[tuple[str, str]], **columns: list) -> Chains:
    """Chains from (entry, sequence); the k-th of the list is chain k of its entry."""
    return Chains.from_columns(
        {
            "chain_uid": [f"{entry}_1_{k}" for k, (entry, _) in enumerate(rows)],
            "entry_id": [entry for entry, _ in rows],
            "sequence": [sequence for _, sequence in rows],
            **columns,
        }
    )


def split_of(chains: Chains, found: Assignment) -> dict[str, str | None]:
    return {
        uid: None if s == NO_SPLIT else found.names[s]
        for uid, s in zip(chains.uids, found.split, strict=True)
    }


datasets = st.lists(
    st.tuples(
        st.integers(0, 15).map("e{:02d}".format),
        st.integers(0, 12).map(lambda k: LETTERS[k % 20] * (5 + k)),
    ),
    min_size=1,
    max_size=60,
)


# ---- graphs -----------------------------------------------------------------------------------


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60),
        )
    )
)
def test_components_are_what_a_search_from_every_node_finds(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    n, edges = graph
    ends = np.array(edges, np.int64).reshape(-1, 2)
    found = connected_components(n, ends[:, 0], ends[:, 1])
    reached = [{k} for k in range(n)]
    for _ in range(n):
        for a, b in edges:
            reached[a] |= reached[b]
            reached[b] |= reached[a]
    assert found.tolist() == [min(r) for r in reached]


def test_a_long_path_is_one_component() -> None:
    n = 20_000
    order = np.random.default_rng(0).permutation(n)
    assert not connected_components(n, order[:-1], order[1:]).any()


# ---- shares -----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=80),
    st.lists(st.integers(1, 20), min_size=2, max_size=5),
    st.integers(0, 99),
)
def test_no_split_is_further_from_its_share_than_the_heaviest_group(
    weights: list[int], parts: list[int], seed: int
) -> None:
    fractions = [p / sum(parts) for p in parts]
    split = share_out([f"g{k}" for k in range(len(weights))], np.array(weights), fractions, seed)
    got = np.bincount(split, weights, minlength=len(parts))
    missed = np.abs(got - np.array(fractions) * sum(weights))
    assert missed.max() <= max(weights) + 1e-6


def test_the_small_groups_of_the_largest_split_are_like_those_of_the_others() -> None:
    weights = np.random.default_rng(1).integers(1, 50, 4000)
    split = share_out([f"g{k}" for k in range(len(weights))], weights, [0.8, 0.1, 0.1], 0)
    means = [weights[split == k].mean() for k in range(3)]
    assert max(means) - min(means) < 4


@given(datasets, st.sampled_from(["chains", "residues"]), st.integers(0, 9))
def test_components_of_entries_are_never_cut(
    rows: list[tuple[str, str]], balance: str, seed: int
) -> None:
    chains = chains_of(rows)
    found = assign_splits(chains, options(balance=balance, seed=seed))
    weights = chains.lengths if balance == "residues" else np.ones(len(chains), np.int64)
    by_entry: dict[str, set[int]] = {}
    by_sequence: dict[int, set[int]] = {}
    for k, entry in enumerate(chains.entry_ids):
        by_entry.setdefault(entry, set()).add(found.split[k])
        by_sequence.setdefault(chains.keys[k, 0], set()).add(found.split[k])
    assert all(len(splits) == 1 for splits in (*by_entry.values(), *by_sequence.values()))
    assert len(found.leaks) == 0
    heaviest = np.bincount(found.components, weights).max()
    got = np.bincount(found.split, weights, minlength=3)
    assert np.abs(got - np.array([0.8, 0.1, 0.1]) * weights.sum()).max() <= heaviest + 1e-6


@given(datasets)
def test_chains_of_an_entry_may_part_but_clusters_do_not(rows: list[tuple[str, str]]) -> None:
    chains = chains_of(rows)
    found = assign_splits(chains, options(unit="chain"))
    assert len(find_leaks(chains.keys, found.split)) == 0
    assert np.array_equal(found.components, found.clusters)
    heaviest = np.bincount(found.clusters).max()
    got = np.bincount(found.split, minlength=3)
    assert np.abs(got - np.array([0.8, 0.1, 0.1]) * len(chains)).max() <= heaviest + 1e-6


@given(
    datasets,
    st.randoms(use_true_random=False),
    st.sampled_from(["cluster", "random"]),
    st.sampled_from(["entry", "chain"]),
)
def test_the_order_of_rows_changes_nothing(
    rows: list[tuple[str, str]], random: object, method: str, unit: str
) -> None:
    columns = {
        "chain_uid": [f"{entry}_1_{k}" for k, (entry, _) in enumerate(rows)],
        "entry_id": [entry for entry, _ in rows],
        "sequence": [sequence for _, sequence in rows],
    }
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = {name: [values[k] for k in order] for name, values in columns.items()}
    chosen = options(method=method, unit=unit, on_leak="report")
    a = assign_splits(Chains.from_columns(columns), chosen)
    b = assign_splits(Chains.from_columns(shuffled), chosen)
    for name in ("clusters", "components", "split"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_another_seed_is_another_division() -> None:
    chains = chains_of([(f"e{k}", LETTERS[k % 20] * (k + 1)) for k in range(60)])
    divisions = {tuple(assign_splits(chains, options(seed=seed)).split) for seed in range(5)}
    assert len(divisions) == 5


def test_the_division_for_a_seed_is_the_same_in_every_version() -> None:
    chains = chains_of([(f"e{k}", LETTERS[k] * 30) for k in range(10)])
    found = assign_splits(chains, options(fractions=[0.5, 0.3, 0.2]))
    assert found.split.tolist() == [2, 0, 0, 0, 2, 1, 0, 1, 0, 1]


# ---- what is identical ------------------------------------------------------------------------


def test_chains_of_one_entity_are_identical_however_much_of_it_is_resolved() -> None:
    chains = chains_of(
        [("a", "MKTA"), ("b", "KTAYI")], entity_sequence=["GSMKTAYIAK", "GSMKTAYIAK"]
    )
    assert assign_splits(chains, options()).clusters.tolist() == [0, 0]


def test_a_chain_without_entity_is_compared_with_the_whole_sequences_of_others() -> None:
    chains = chains_of([("a", "GSMKTAYIAK"), ("b", "KTAYI")], entity_sequence=[None, "GSMKTAYIAK"])
    assert assign_splits(chains, options()).clusters.tolist() == [0, 0]


def test_similar_sequences_join_clusters_and_through_them_entries() -> None:
    chains = chains_of([("a", "AAAA"), ("b", "CCC"), ("b", "DD"), ("c", "E")])
    # Sequences are numbered long before short.
    found = assign_splits(chains, options(), similar=np.array([[0, 1], [2, 2]]))
    assert found.clusters.tolist() == [0, 0, 2, 3]
    assert [chains.entry_ids[k] for k in found.components] == ["a", "a", "a", "c"]


def test_a_sequence_that_no_cluster_mentions_is_a_cluster_of_its_own() -> None:
    chains = chains_of([("a", "AAAA"), ("b", "CCC"), ("c", "X")])
    found = assign_splits(chains, options(), similar=np.array([[0, 1]]))
    assert found.clusters.tolist() == [0, 0, 2]
    assert (found.split >= 0).all()


# ---- components that are too large ------------------------------------------------------------


def antibodies() -> Chains:
    """Twenty antigens, each with the same antibody; ten enzymes alone."""
    rows = []
    for k in range(20):
        rows += [(f"ab{k:02d}", "HHHHHHHH"), (f"ab{k:02d}", "A" + "C" * k)]
    return chains_of([*rows, *((f"en{k:02d}", "W" + "Y" * k) for k in range(10))])


def test_a_large_component_is_named_with_its_share_and_what_to_do() -> None:
    found = assign_splits(antibodies(), options())
    (warning,) = (w for w in found.warnings if "component" in w)
    assert "ab00" in warning
    assert "80%" in warning
    assert "--max-component" in warning
    assert "--unit chain" in warning


def test_a_large_cluster_is_not_said_to_be_cuttable() -> None:
    chains = chains_of([(f"e{k}", "AAAA" if k < 8 else "C" * k) for k in range(10)])
    (warning,) = (w for w in assign_splits(chains, options()).warnings if "holds" in w)
    assert "--min-identity" in warning
    assert "--max-component" not in warning


def test_cutting_leaves_out_the_hubs_of_the_smaller_splits_and_nothing_else() -> None:
    chains = antibodies()
    found = assign_splits(chains, options(max_component=0.1))
    antibody = np.array([chains.sequences[k] == "HHHHHHHH" for k in chains.keys[:, 0]])
    assert set(found.split[antibody].tolist()) == {0, NO_SPLIT}
    assert (found.split[~antibody] != NO_SPLIT).all()
    assert len(set(found.split[~antibody].tolist())) == 3
    assert {r for r, s in zip(found.reasons, found.split, strict=True) if s < 0} == {"cut"}
    assert len(find_leaks(found.clusters[:, None], found.split)) == 0
    assert not any("component" in w for w in found.warnings)


@given(datasets, st.floats(0.02, 1.0), st.integers(0, 5))
def test_after_cutting_no_component_is_too_heavy_and_nothing_leaks(
    rows: list[tuple[str, str]], limit: float, seed: int
) -> None:
    chains = chains_of(rows)
    found = assign_splits(chains, options(max_component=limit, seed=seed))
    entries = chains.entry_numbers()
    cut = hub_clusters(entries, found.clusters, np.ones(len(chains), np.int64), limit * len(chains))
    for component in set(found.components.tolist()):
        inside = (found.components == component) & ~cut
        small = inside.sum() <= limit * len(chains)
        n_entries, n_clusters = (len(set(x[inside].tolist())) for x in (entries, found.clusters))
        assert small or n_entries == 1 or n_clusters == 1
    assert len(find_leaks(found.clusters[:, None], found.split)) == 0
    assert (found.split[~cut] >= 0).all()
    for entry in set(entries.tolist()):
        assert len(set(found.split[(entries == entry) & ~cut].tolist())) <= 1
    # As few as suffice: a limit of everything cuts nothing.
    if limit == 1.0:
        assert not cut.any()


# ---- leaks ------------------------------------------------------------------------------------


@given(datasets, st.lists(st.integers(-1, 2), min_size=60, max_size=60))
def test_leaks_are_exactly_the_chains_that_repeat_an_earlier_split(
    rows: list[tuple[str, str]], splits: list[int]
) -> None:
    chains = chains_of(rows)
    split = np.array(splits[: len(chains)])
    leaks = find_leaks(chains.keys, split)
    sequence = [chains.sequences[k] for k in chains.keys[:, 0]]
    expected = [
        any(0 <= split[b] < split[a] for b in range(len(chains)) if sequence[a] == sequence[b])
        for a in range(len(chains))
    ]
    assert leaks.chains.tolist() == expected
    assert bool(leaks.pairs) == any(expected)
    assert all(sequence[a] == sequence[b] and split[a] < split[b] for a, b in leaks.pairs)
    assert len(find_leaks(chains.keys, np.where(leaks.chains, NO_SPLIT, split))) == 0


def test_dropping_takes_the_copies_from_the_later_split_and_says_why() -> None:
    chains = chains_of(
        [("a", "AAAA"), ("b", "AAAA"), ("c", "CCC")],
        release_date=["2020-01-01", "2022-01-01", "2022-01-01"],
    )
    by_time = {"method": "time", "before": ["2021-01-01"], "names": ["train", "test"]}
    found = assign_splits(chains, options(**by_time, on_leak="drop"))
    assert split_of(chains, found) == {"a_1_0": "train", "b_1_1": None, "c_1_2": "test"}
    assert found.reasons == [None, "leak", None]
    kept = assign_splits(chains, options(**by_time, on_leak="report"))
    assert split_of(chains, kept)["b_1_1"] == "test"
    assert kept.leaks.sentences(chains.uids, kept.names, kept.split) == [
        "b_1_1 (test) repeats a_1_0 (train)"
    ]


def test_clusters_can_count_as_leaks_where_sequences_do_not() -> None:
    chains = chains_of([("a", "AAAA"), ("b", "CCC")], release_date=["2020-01-01", "2022-01-01"])
    by_time = {"method": "time", "before": ["2021-01-01"], "names": ["train", "test"]}
    similar = np.array([[0, 1]])
    assert len(assign_splits(chains, options(**by_time), similar).leaks) == 0
    assert len(assign_splits(chains, options(**by_time, leak="cluster"), similar).leaks) == 1


# ---- dates and lists --------------------------------------------------------------------------


def test_borders_belong_to_the_later_split_and_deposition_stands_in_for_release() -> None:
    chains = chains_of(
        [("a", "A"), ("b", "C"), ("c", "D"), ("d", "E")],
        release_date=["2019-12-31", "2020-01-01", None, "2021-01-01"],
        deposition_date=["1990-01-01", "1990-01-01", "2020-06-01", None],
    )
    found = assign_splits(chains, options(method="time", before=["2020-01-01", "2021-01-01"]))
    assert list(split_of(chains, found).values()) == ["train", "val", "val", "test"]


def test_chains_without_a_date_go_where_the_option_says_or_nowhere_by_themselves() -> None:
    chains = chains_of([("a", "A"), ("b", "C")], release_date=["2000-01-01", "not a day"])
    by_time = {"method": "time", "before": ["2020-01-01", "2021-01-01"]}
    with pytest.raises(UsageError, match=r"1 chains .*b_1_1.*--undated"):
        assign_splits(chains, options(**by_time))
    found = assign_splits(chains, options(**by_time, undated="val"))
    assert split_of(chains, found)["b_1_1"] == "val"
    found = assign_splits(chains, options(**by_time, undated="none"))
    assert found.reasons == [None, "undated"]


def listed(tmp_path: Path, text: str) -> SplitList:
    path = tmp_path / "list.csv"
    path.write_text(text)
    return SplitList.read(path, ["train", "val", "test"])


def test_a_list_says_it_by_entry_by_chain_or_by_uid_and_the_closest_word_counts(
    tmp_path: Path,
) -> None:
    chains = chains_of(
        [("1abc", "A"), ("1abc", "C"), ("2abc", "D"), ("sub/3abc", "E"), ("4abc", "F")],
        label_asym_id=["A", "B", "A", "A", "A"],
        auth_asym_id=["L", "H", "A", "A", "A"],
    )
    found = assign_splits(
        chains,
        options(method="list", split_list=Path("list.csv")),
        split_list=listed(
            tmp_path,
            "entry_id,chain,chain_uid,split\n1ABC,,,train\n1abc,H,,val\n,,2abc_1_2,test\n"
            "2abc,,,train\n3abc,A,,val\n9xyz,,,test\n",
        ),
    )
    assert split_of(chains, found) == {
        "1abc_1_0": "train",
        "1abc_1_1": "val",
        "2abc_1_2": "test",
        "sub/3abc_1_3": "val",
        "4abc_1_4": None,
    }
    assert found.reasons == [None, None, None, "not-listed", None]
    warnings = " ".join(found.warnings)
    assert "1 of the list are not in the dataset, such as 9xyz" in warnings
    assert "1 entries have chains in several splits" in warnings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,split\na,train\n", "found name, split"),
        ("", "found nothing"),
        ("entry_id,split\na,valid\n", "line 2: valid is none of the splits train val test"),
        ("entry_id,split\na,train\na,test\n", "line 3: is in test here and in train above"),
        ("entry_id,split\n,train\n", "line 2: names neither chain nor entry"),
        ("entry_id,Chain_ID,split\na,A,train\n", "a column Chain_ID, but .* column chain or"),
    ],
)
def test_a_list_that_says_nothing_clear_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        listed(tmp_path, text)


def test_a_cell_of_several_chains_fits_none_and_says_why(tmp_path: Path) -> None:
    chains = chains_of([("1abc", "A"), ("1abc", "C")], label_asym_id=["A", "B"])
    text = 'entry_id, chain, split\n1abc,A,train\n1abc,"A,B",test\n'
    found = assign_splits(chains, options(method="list"), split_list=listed(tmp_path, text))
    told = "such as 1abc A,B; 'A,B' looks like several: one chain belongs on each line"
    assert told in " ".join(found.warnings)


def test_a_list_of_other_data_is_refused(tmp_path: Path) -> None:
    chains = chains_of([("1abc", "A")])
    with pytest.raises(UsageError, match="names no chain of this dataset"):
        assign_splits(
            chains, options(method="list"), split_list=listed(tmp_path, "entry_id,split\nz,test\n")
        )


# ---- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fractions": [0.8, 0.2]}, "--fractions has 2 numbers, --names 3"),
        ({"fractions": [0.8, 0.1, 0.2]}, "must be 1"),
        ({"fractions": [1.0, 0.0, 0.0]}, "must be positive"),
        ({"names": ["train", "train", "test"]}, "different names"),
        ({"names": ["train", "none", "test"]}, "not called 'none'"),
        ({"method": "time"}, "needs --before with 2 days"),
        ({"method": "time", "before": ["2020", "2021"]}, "give days as YYYY-MM-DD"),
        ({"method": "time", "before": ["2021-01-01", "2020-01-01"]}, "one after the other"),
        ({"method": "list"}, "needs --split-list"),
        ({"before": ["2020-01-01"]}, "--before is for --method time, not cluster"),
        ({"method": "random", "max_component": 0.1}, "--max-component is for"),
        ({"max_component": 0.0}, "--max-component is a share"),
        ({"min_identity": 30.0}, "--min-identity is a share"),
        ({"threads": -1}, "--threads"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options(**values).check()


def test_what_does_not_decide_the_result_is_not_recorded() -> None:
    plain = options().identity()
    assert options(threads=3, overwrite=True, dry_run=True, coverage=0.5).identity() == plain
    assert options(seed=1).identity() != plain
    similar = options(clusters="mmseqs")
    assert similar.identity("18") != similar.identity("17")
