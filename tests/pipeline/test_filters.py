"""Rules drop what they say, beyond the limit and not at it, and say why; so do manifests."""

from __future__ import annotations

import inspect
import re
from dataclasses import Field, fields
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chain import Chain, EntryMetadata
from pipeline.errors import UsageError
from pipeline.features import ChainFeatures, compute_features
from pipeline.filters import Drop, Filters, Manifest, ManifestError, Property
from pipeline.residues import UNKNOWN
from tests.support.random_chains import random_chain, with_fields

EMPTY = EntryMetadata()


def chain_of(n: int, n_resolved: int | None = None, n_unknown: int = 0) -> Chain:
    n_resolved = n if n_resolved is None else n_resolved
    return with_fields(
        random_chain(0, n, holes=0),
        resolved=np.arange(n) < n_resolved,
        aatype=np.where(np.arange(n) < n_unknown, UNKNOWN, 0).astype(np.int8),
    )


def features_of(**values: float | None) -> ChainFeatures:
    (some,) = compute_features([random_chain(0, 5)])
    known = {f.name: getattr(some, f.name) for f in fields(ChainFeatures)}
    return ChainFeatures(**{**known, **values})  # type: ignore[arg-type]


def reason(drop: Drop | None) -> str | None:
    return None if drop is None else drop.reason


# ---- every rule, at its limit -------------------------------------------------------------------

# option, limit, property, value that is kept (the limit itself), values that are dropped, reason
ENTRY_RULES = [
    ("max_resolution", 2.5, "resolution", [2.5, 0.48], [2.51, 99.0], "max-resolution"),
    ("min_oligomer", 2, "oligomer", [2, 60], [1, 0], "min-oligomer"),
    ("max_oligomer", 2, "oligomer", [2, 1], [3, 60], "max-oligomer"),
    (
        "deposited_after",
        "2020-01-01",
        "deposition_date",
        ["2020-01-01", "2024-12-31"],
        ["2019-12-31", "1976-05-19"],
        "min-deposition-date",
    ),
    (
        "deposited_before",
        "2020-01-01",
        "deposition_date",
        ["2019-12-31", "1976-05-19"],
        ["2020-01-01", "2024-12-31"],
        "max-deposition-date",
    ),
    (
        "released_after",
        "2020-01-01",
        "release_date",
        ["2020-01-01"],
        ["2019-12-31"],
        "min-release-date",
    ),
    (
        "released_before",
        "2020-01-01",
        "release_date",
        ["2019-12-31"],
        ["2020-01-01"],
        "max-release-date",
    ),
    ("max_r_free", 0.25, "r_free", [0.25, 0.1], [0.251, 0.4], "max-r-free"),
    (
        "min_data_completeness",
        0.9,
        "data_completeness",
        [0.9, 1.0],
        [0.899, 0.5],
        "min-data-completeness",
    ),
    (
        "methods",
        ["x-ray", "NMR"],
        "method",
        ["X-RAY DIFFRACTION", "SOLUTION NMR", "x-ray diffraction"],
        ["ELECTRON MICROSCOPY", "NEUTRON DIFFRACTION"],
        "method",
    ),
]
PROPERTY_OF = {
    "resolution": "resolution",
    "oligomer": "oligomer",
    "method": "method",
    "deposition_date": "deposition-date",
    "release_date": "release-date",
    "r_free": "r-free",
    "data_completeness": "data-completeness",
}


@pytest.mark.parametrize(("option", "limit", "name", "kept", "dropped", "why"), ENTRY_RULES)
def test_a_rule_for_entries_keeps_its_limit_and_drops_beyond(
    option, limit, name, kept, dropped, why
):
    filters = Filters(**{option: limit})
    for value in kept:
        assert filters.entry(EntryMetadata(**{name: value})) is None, value
    for value in dropped:
        drop = filters.entry(EntryMetadata(**{name: value}))
        assert reason(drop) == why, value
        assert (f"{value:g}" if isinstance(value, float) else str(value)) in drop.detail
        assert Filters().entry(EntryMetadata(**{name: value})) is None


@pytest.mark.parametrize(("option", "limit", "name", "kept", "dropped", "why"), ENTRY_RULES)
def test_an_unknown_value_passes_unless_it_is_to_be_dropped(
    option, limit, name, kept, dropped, why
):
    unknown = PROPERTY_OF[name]
    assert Filters(**{option: limit}).entry(EMPTY) is None
    drop = Filters(**{option: limit}, drop_unknown=[unknown]).entry(EMPTY)
    assert reason(drop) == f"unknown-{unknown}"
    assert unknown in drop.detail
    assert Filters(drop_unknown=[unknown]).entry(EMPTY) == drop, "it needs no limit"
    known = EntryMetadata(**{name: kept[0]})
    assert Filters(**{option: limit}, drop_unknown=[unknown]).entry(known) is None
    assert Filters(drop_unknown=[unknown]).entry(EntryMetadata(**{name: dropped[0]})) is None


CHAIN_RULES = [
    ("min_length", 10, chain_of(10), chain_of(9), "min-length"),
    ("max_length", 10, chain_of(10), chain_of(11), "max-length"),
    ("min_resolved", 5, chain_of(10, 5), chain_of(10, 4), "min-resolved"),
    ("min_fraction_resolved", 0.5, chain_of(10, 5), chain_of(10, 4), "min-fraction-resolved"),
    ("max_fraction_x", 0.3, chain_of(10, 10, 3), chain_of(10, 10, 4), "max-fraction-x"),
    (
        "max_zero_occupancy_fraction",
        0.1,
        with_fields(chain_of(10), zero_occupancy_fraction=0.1),
        with_fields(chain_of(10), zero_occupancy_fraction=0.101),
        "max-zero-occupancy-fraction",
    ),
]


@pytest.mark.parametrize(("option", "limit", "kept", "dropped", "why"), CHAIN_RULES)
def test_a_rule_for_chains_keeps_its_limit_and_drops_beyond(option, limit, kept, dropped, why):
    filters = Filters(**{option: limit})
    assert filters.chain(kept) is None
    assert reason(filters.chain(dropped)) == why
    assert Filters().chain(dropped) is None


GEOMETRY_RULES = [
    ("max_breaks", 2, "n_breaks", 2, 3, "max-breaks"),
    ("max_breaks", 0, "n_breaks", 0, 1, "max-breaks"),
    ("max_clashes", 2.0, "clashes_per_1000_atoms", 2.0, 2.001, "max-clashes"),
    (
        "max_ramachandran_outlier_fraction",
        0.02,
        "ramachandran_outlier_fraction",
        0.02,
        0.0201,
        "max-ramachandran-outlier-fraction",
    ),
    ("max_chirality_errors", 0, "n_chirality_errors", 0, 1, "max-chirality-errors"),
    ("max_coil_fraction", 0.5, "coil_fraction", 0.5, 0.51, "max-coil-fraction"),
    (
        "max_radius_of_gyration",
        20.0,
        "radius_of_gyration",
        20.0,
        20.001,
        "max-radius-of-gyration",
    ),
]


@pytest.mark.parametrize(("option", "limit", "name", "kept", "dropped", "why"), GEOMETRY_RULES)
def test_a_rule_for_geometry_keeps_its_limit_and_drops_beyond(
    option, limit, name, kept, dropped, why
):
    chain = random_chain(0, 5)
    filters = Filters(**{option: limit})
    assert filters.geometry(chain, features_of(**{name: kept})) is None
    assert reason(filters.geometry(chain, features_of(**{name: dropped}))) == why
    assert Filters().geometry(chain, features_of(**{name: dropped})) is None


def test_plddt_is_asked_of_predicted_chains_only():
    predicted = with_fields(random_chain(0, 5), metadata=EntryMetadata(confidence_kind="plddt"))
    measured = random_chain(0, 5)
    filters = Filters(min_plddt=70)
    assert filters.geometry(predicted, features_of(mean_b_factor=70.0)) is None
    assert reason(filters.geometry(predicted, features_of(mean_b_factor=69.9))) == "min-plddt"
    # A B-factor of 12 Å² is no confidence of 12.
    assert filters.geometry(measured, features_of(mean_b_factor=12.0)) is None
    strict = Filters(min_plddt=70, drop_unknown=["plddt"])
    assert reason(strict.geometry(measured, features_of(mean_b_factor=99.0))) == "unknown-plddt"
    assert strict.geometry(predicted, features_of(mean_b_factor=99.0)) is None


def test_without_rules_everything_is_kept():
    chain = random_chain(0, 1)
    assert Filters().entry(EMPTY) is None
    assert Filters().chain(chain) is None
    assert Filters().geometry(chain, features_of(n_breaks=99, coil_fraction=1.0)) is None


def test_the_first_rule_that_drops_gives_the_reason():
    filters = Filters(min_length=10, min_fraction_resolved=0.9)
    assert reason(filters.chain(chain_of(5, 1))) == "min-length"
    assert reason(filters.chain(chain_of(50, 1))) == "min-fraction-resolved"


def test_both_dates_of_a_window_count():
    window = Filters(deposited_after="2010-01-01", deposited_before="2020-01-01")
    dates = ["2009-12-31", "2010-01-01", "2019-12-31", "2020-01-01"]
    kept = [d for d in dates if window.entry(EntryMetadata(deposition_date=d)) is None]
    assert kept == ["2010-01-01", "2019-12-31"]


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_limit_splits_the_numbers(value, limit):
    metadata = EntryMetadata(resolution=value)
    assert (Filters(max_resolution=limit).entry(metadata) is None) == (value <= limit)


# ---- documentation ------------------------------------------------------------------------------


def test_every_rule_is_documented_and_tested_and_says_what_becomes_of_unknown_values():
    text = inspect.getdoc(Filters)
    described = dict(re.findall(r"^(\w+)\n((?:    .*\n?)+)", text.split("----------\n")[1], re.M))
    names = [f.name for f in fields(Filters)]
    assert list(described) == names
    rules = {rule[0] for rules in (ENTRY_RULES, CHAIN_RULES, GEOMETRY_RULES) for rule in rules}
    assert set(names) == rules | {"min_plddt", "drop_unknown"}
    groups: dict[str, str] = {}
    for option, _, name, *_ in ENTRY_RULES:
        groups[name] = groups.get(name, "") + " ".join(described[option].split())
    for name, said in groups.items():
        assert f"--drop-unknown {PROPERTY_OF[name]}" in said, name
        assert "pass" in said, name
    assert "--drop-unknown plddt" in " ".join(described["min_plddt"].split())
    for name in get_args(Property):
        assert name in described["drop_unknown"]


# ---- manifests ----------------------------------------------------------------------------------


def manifest(tmp_path, text: str | bytes) -> Manifest:
    path = tmp_path / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Manifest.read(path)


def test_a_manifest_lists_entries_and_chains(tmp_path):
    found = manifest(
        tmp_path,
        "entry_id,chain,split\n1ABC,A,train\n1abc,B,train\n2xyz,,test\nAF-P1-F1,A,train\n",
    )
    assert found.entries == {
        "1abc": frozenset("AB"),
        "2xyz": None,
        "AF-P1-F1": frozenset("A"),
    }


@pytest.mark.parametrize(
    "lines", [["1abc,A", "1abc,"], ["1abc,", "1abc,A"], ["1abc,A", "1ABC,  ", "1abc,B"]]
)
def test_an_entry_that_is_listed_without_a_chain_is_wanted_whole(tmp_path, lines):
    assert manifest(tmp_path, "\n".join(["entry_id,chain", *lines])).entries == {"1abc": None}


@pytest.mark.parametrize(
    "text",
    [
        "entry_id\n1abc\n2xyz\n",
        b"\xef\xbb\xbfentry_id\r\n1abc\r\n2xyz\r\n",
        'entry_id,note\n1abc,"a, b\nc"\n 2xyz ,\n',
        "note,entry_id\nx,1abc\ny,2xyz\n\n",
    ],
    ids=["plain", "excel", "quoted", "order"],
)
def test_manifests_of_other_programs_are_read(tmp_path, text):
    assert manifest(tmp_path, text).entries == {"1abc": None, "2xyz": None}


def test_blanks_around_headings_are_no_part_of_them(tmp_path):
    found = manifest(tmp_path, "entry_id, chain \n1abc, A\n 2xyz , \n")
    assert found.entries == {"1abc": frozenset("A"), "2xyz": None}


@pytest.mark.parametrize(
    "name",
    [
        *("chain_id", "chains", "auth_asym_id", "LABEL_ASYM_ID", "asym_id", "chain_name"),
        *("Chain", "Chain ID", "chain_uid", "chainID", "pdb_chain", "pdb_strand_id"),
    ],
)
def test_chains_under_another_heading_are_not_taken_for_whole_entries(tmp_path, name):
    text = f"entry_id,{name}\n1abc,A\n"
    with pytest.raises(ManifestError, match=f"a column {name}, but .* a column chain;"):
        manifest(tmp_path, text)
    with pytest.raises(ManifestError, match="A, not 1abc_1_A" if "uid" in name else "exactly so"):
        manifest(tmp_path, text)
    assert Manifest.read(tmp_path / "manifest.csv", entries_only=True).entries == {"1abc": None}
    # Beside the column that is read it may be there.
    both = manifest(tmp_path, f"entry_id,{name},chain\n1abc,A,B\n")
    assert both.entries == {"1abc": frozenset("B")}


@pytest.mark.parametrize("name", ["score", "n_chains", "chain_length", "released", "note", "split"])
def test_other_columns_of_a_manifest_are_nobody_s_business(tmp_path, name):
    assert manifest(tmp_path, f"entry_id,{name}\n1abc,A\n").entries == {"1abc": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "entry_id"),
        ("entry,chain\n1abc,A\n", "found entry, chain"),
        ("1abc\n2xyz\n", "found 1abc"),
        ("entry_id,chain\n1abc,A\n,B\n", "line 3"),
        ("entry_id\n1abc\n   \n", "line 3"),
        (b"entry_id\n\xff\xfe\n", "UTF-8"),
        ("entry_id\n1abc" + "x" * 200_000, "field larger"),
        (b"\x1f\x8b\x08\0garbage", "manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(tmp_path, text, said):
    with pytest.raises(ManifestError, match=re.escape(said)) as caught:
        manifest(tmp_path, text)
    assert "manifest.csv" in str(caught.value)


def test_a_manifest_that_is_a_folder_says_so(tmp_path):
    with pytest.raises(ManifestError, match="directory"):
        Manifest.read(tmp_path)


def test_a_manifest_knows_qualified_ids_and_both_chain_ids(tmp_path):
    found = manifest(tmp_path, "entry_id,chain\n1ABC,H\n2xyz,\nset/3abc,\n")
    assert found.has_entry("1abc")
    assert found.has_entry("1ABC")
    assert found.has_entry("folder/1abc")
    assert found.has_entry("set/3abc")
    assert not found.has_entry("3abc")
    assert not found.has_entry("9zzz")
    chain = random_chain(0, 3)

    def has(entry: str, label: str, auth: str) -> bool:
        return found.has_chain(
            with_fields(chain, entry_id=entry, label_asym_id=label, auth_asym_id=auth)
        )

    assert has("1abc", "H", "X")
    assert has("1abc", "A", "H")
    assert not has("1abc", "A", "h")
    assert has("2xyz", "Q", "Q")
    assert not has("9zzz", "H", "H")


def test_what_a_manifest_lists_and_nobody_has_is_told(tmp_path):
    found = manifest(tmp_path, "entry_id\n1abc\n2xyz\n3AAA\n")
    assert found.missing(["set/1abc", "3aaa"]) == ["2xyz"]
    assert found.missing([]) == ["1abc", "2xyz", "3aaa"]


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"max_resolution": float("nan")}, "--max-resolution must be a number"),
        ({"min_fraction_resolved": 1.1}, "--min-fraction-resolved is a share, from 0 to 1"),
        ({"deposited_after": "2020"}, "--deposited-after 2020: give a day as YYYY-MM-DD"),
        # Days are compared as texts.
        ({"released_before": "2020-1-5"}, "--released-before 2020-1-5: give a day as YYYY-MM-DD"),
        ({"min_length": 3, "max_length": 2}, "--min-length 3 and --max-length 2 leave nothing"),
        (
            {"released_after": "2020-01-05", "released_before": "2020-01-05"},
            "--released-after 2020-01-05 and --released-before 2020-01-05 leave nothing",
        ),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rules: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as error:
        Filters(**rules).check()
    assert str(error.value) == why


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("min_plddt", 170.0, "170 is out of range: give a number from 0 to 100"),
        ("min_plddt", -1.0, "-1 is out of range: give a number from 0 to 100"),
        ("max_resolution", 0.0, "0 is out of range: give a number above 0"),
        ("max_radius_of_gyration", -0.5, "-0.5 is out of range: give a number above 0"),
        ("max_length", 0, "0 is out of range: give a number of at least 1"),
        ("max_oligomer", 0, "0 is out of range: give a number of at least 1"),
    ],
)
def test_a_limit_that_every_chain_or_none_keeps_is_refused(
    name: str, value: float, wanted: str
) -> None:
    with pytest.raises(UsageError) as error:
        Filters(**{name: value}).check()
    option = "--" + name.replace("_", "-")
    assert str(error.value) == f"{option} {wanted}, or leave the option out to drop nothing by it"


@pytest.mark.parametrize(
    "rule", [f for f in fields(Filters) if f.name[:3] in ("min", "max")], ids=lambda f: f.name
)
def test_no_limit_is_below_nothing(rule: Field[Any]) -> None:
    with pytest.raises(UsageError, match="--" + rule.name.replace("_", "-")):
        Filters(**{rule.name: -1}).check()


@pytest.mark.parametrize(("option", "limit", "name", "kept", "dropped", "why"), ENTRY_RULES)
def test_a_rule_for_entries_says_what_it_judges(option, limit, name, kept, dropped, why):
    assert Filters(**{option: limit}).judged == (PROPERTY_OF[name],)


def test_rules_for_chains_and_rules_that_are_not_set_judge_nothing_that_files_say():
    assert Filters().judged == ()
    assert Filters(max_length=9, min_plddt=70.0, drop_unknown=["resolution"]).judged == ()
    both = Filters(released_after="2000-01-01", released_before="2001-01-01", max_r_free=0.3)
    assert both.judged == ("release-date", "r-free")


@pytest.mark.parametrize("word", ["xray", "nmrr", "cryoem", "x-ray,nmr"])
def test_a_word_that_no_method_has_in_it_is_refused_with_the_methods(word: str) -> None:
    with pytest.raises(UsageError, match=rf"--methods {word} is .*X-RAY DIFFRACTION.*EPR"):
        Filters(methods=["x-ray", word]).check()


@pytest.mark.parametrize(
    "word", ["X-RAY", "nmr", "Electron", "solid-state", "neutron", "diffraction", "cryo-", "NMR, "]
)
def test_any_part_of_a_methods_name_is_taken_in_any_case(word: str) -> None:
    Filters(methods=[word]).check()


def test_methods_as_joint_entries_hold_them_are_taken_and_no_methods_are_no_filter() -> None:
    Filters(methods=["X-RAY DIFFRACTION; NEUTRON DIFFRACTION"]).check()
    with pytest.raises(UsageError, match="is a part of no method's name"):
        Filters(methods=["x-ray; xray"]).check()
    assert Filters(methods=[]).judged == ()


def test_a_method_of_no_letters_is_refused() -> None:
    with pytest.raises(UsageError, match="--methods has an empty name"):
        Filters(methods=["x-ray", " "]).check()


def test_rules_that_leave_something_are_not_refused() -> None:
    Filters().check()
    Filters(
        min_length=2,
        max_length=2,
        min_fraction_resolved=1.0,
        max_coil_fraction=0.0,
        min_plddt=100.0,
        max_breaks=0,
        max_clashes=0.0,
        released_after="2020-01-05",
        released_before="2020-01-06",
    ).check()


@pytest.mark.parametrize("rule", fields(Filters), ids=lambda rule: rule.name)
def test_what_the_help_says_of_a_rules_values_is_held(rule: Field[Any]) -> None:
    help_of = re.search(rf"(?m)^    {rule.name}\n((?:        .*\n)+)", Filters.__doc__ or "")
    assert help_of is not None
    wrong = {"share": -0.5, "day": "soon"}
    said = {"share": "0 to 1." in help_of[1], "day": " day" in help_of[1]}
    for kind, value in wrong.items():
        if said[kind]:
            with pytest.raises(UsageError, match=f"{kind}"):
                Filters(**{rule.name: value}).check()
        else:
            assert not rule.metadata.get(kind)
