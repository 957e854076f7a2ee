"""What headers say of days and of diffraction, however they write it."""

from __future__ import annotations

import io

import biotite.structure.io.pdbx as pdbx
import pytest

from pipeline.parsing import ParsedEntry, read_chains
from tests.support.build_runs import build_here, inputs
from tests.support.structure_text import chain, cif_text, loop, pdb_text, read

PEPTIDE = chain(["ALA", "GLY", "SER"])

OLD_REVISIONS = """loop_
_database_PDB_rev.num
_database_PDB_rev.date
_database_PDB_rev.date_original
2 2009-02-24 ?
1 1999-01-13 1997-12-03
# 
"""
REVISIONS = "_pdbx_audit_revision_history.revision_date {}\n# \n"
DEPOSITION = "_pdbx_database_status.recvd_initial_deposition_date {}\n# \n"


def with_categories(*categories: str) -> ParsedEntry:
    return read(cif_text(PEPTIDE, before="".join(categories)))


def as_binary(text: str) -> bytes:
    """The same block as BinaryCIF."""
    block = pdbx.CIFFile.read(io.StringIO(text)).block
    file = pdbx.BinaryCIFFile()
    file["x"] = pdbx.BinaryCIFBlock(
        {
            name: pdbx.BinaryCIFCategory({k: c.as_array() for k, c in category.items()})
            for name, category in block.items()
        }
    )
    out = io.BytesIO()
    file.write(out)
    return out.getvalue()


def dates(entry: ParsedEntry) -> tuple[str | None, str | None]:
    return entry.metadata.deposition_date, entry.metadata.release_date


def test_old_mmcif_files_have_both_days_in_their_table_of_revisions():
    text = cif_text(PEPTIDE, before=OLD_REVISIONS)
    assert dates(read(text)) == ("1997-12-03", "1999-01-13")
    assert dates(read_chains(as_binary(text), "x")) == ("1997-12-03", "1999-01-13")


def test_what_todays_files_say_of_days_counts_before_what_old_ones_said():
    told = with_categories(OLD_REVISIONS, REVISIONS.format("2001-02-03"))
    assert dates(told) == ("1997-12-03", "2001-02-03")
    told = with_categories(OLD_REVISIONS, DEPOSITION.format("1996-05-06"), REVISIONS.format("?"))
    assert dates(told) == ("1996-05-06", "1999-01-13")
    assert told.flags == []


def test_where_the_newer_tables_have_no_day_that_exists_the_old_one_counts_and_they_are_named():
    nonsense = DEPOSITION.format("2020-13-45"), REVISIONS.format("2021-00-01")
    told = with_categories(OLD_REVISIONS, *nonsense)
    assert dates(told) == ("1997-12-03", "1999-01-13")
    assert told.flags == ["no_date:2020-13-45", "no_date:2021-00-01"]


@pytest.mark.parametrize(
    ("model", "released"), [("'Structure model'", "2021-02-03"), ("?", "2020-01-01")]
)
def test_a_model_is_released_on_the_day_of_its_own_first_revision_not_on_that_of_a_map(
    model, released
):
    revisions = [
        ["1", "'EM metadata'", "2020-01-01"],
        ["2", model, "2022-05-06"],
        ["3", "'Primary map'", "2020-13-45"],
        ["4", model, "2021-02-03"],
    ]
    tags = ("ordinal", "data_content_type", "revision_date")
    text = cif_text(PEPTIDE, before=loop("pdbx_audit_revision_history", tags, revisions))
    for entry in (read(text), read_chains(as_binary(text), "x")):
        assert dates(entry) == (None, released)
        assert entry.flags == ([] if model != "?" else ["no_date:2020-13-45"])


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2020-01-02", "2020-01-02"),
        ("2020/01/02", "2020-01-02"),
        ("2020-1-2", "2020-01-02"),
        ("2020-01-02T00:00:00", "2020-01-02"),
        ("2020-01-02:10:30", "2020-01-02"),
        ("2024-02-29", "2024-02-29"),
    ],
)
def test_a_day_with_its_year_first_is_read(written, day):
    told = with_categories(DEPOSITION.format(written), REVISIONS.format(written))
    assert (dates(told), told.flags) == ((day, day), [])


@pytest.mark.parametrize(
    "written", ["2020-13-45", "2023-02-29", "0000-01-01", "02-JAN-20", "2020-01/02", "2020-01-021"]
)
def test_what_is_no_day_is_not_stored_but_named(written):
    told = with_categories(DEPOSITION.format(written), REVISIONS.format(written))
    assert (dates(told), told.flags) == ((None, None), [f"no_date:{written}"])


def test_of_several_revisions_the_first_day_that_is_one_counts():
    history = "loop_\n_pdbx_audit_revision_history.revision_date\n{}\n# \n"
    told = with_categories(history.format("2020-00-01\n2021-05-06\n2019-08-07\n?"))
    assert (dates(told), told.flags) == ((None, "2019-08-07"), ["no_date:2020-00-01"])


def test_what_is_named_is_short_and_prints():
    told = with_categories(DEPOSITION.format("'soon\u200b, when it is done'"))
    assert told.flags == ["no_date:soon\\u200b, when it is do"]


def pdb_with(day: str) -> ParsedEntry:
    header = f"{'HEADER    HYDROLASE':<50}{day:<9}   1ABC"
    revision = f"REVDAT   1   {day:<9} 1ABC    0"
    return read(pdb_text(header, revision, PEPTIDE))


def test_only_real_days_of_pdb_files_are_stored_and_others_are_named():
    told = pdb_with("29-FEB-24")
    assert (dates(told), told.flags) == (("2024-02-29", "2024-02-29"), [])
    told = pdb_with("31-FEB-20")
    assert (dates(told), told.flags) == ((None, None), ["no_date:31-FEB-20"])


@pytest.mark.parametrize("words", ["", "  -   -  ", "COMPLEX W"])
def test_words_where_a_pdb_file_has_its_day_are_no_remark(words):
    told = pdb_with(words)
    assert (dates(told), told.flags) == ((None, None), [])


# ---- diffraction --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "r_free"),
    [("0.235", 0.235), ("23.5", 0.235), ("23.5%", 0.235), ("8.2", 0.082), ("1", 1.0)]
    + [(nonsense, None) for nonsense in ("0.0", "1.2", "4.9", "100.1", "-23.5", "%", "?")],
)
def test_an_r_free_may_be_a_percentage(written, r_free):
    told = with_categories(f"_refine.ls_R_factor_R_free {written}\n# \n").metadata
    assert told.r_free == pytest.approx(r_free)


XRAYS = "'X-RAY DIFFRACTION'"
NEUTRONS = "'NEUTRON DIFFRACTION'"
REFINED = {XRAYS: (XRAYS, "1.5", "0.18", "95"), NEUTRONS: (NEUTRONS, "2.2", "0.26", "70")}


def refinements(*rows: tuple[str, ...]) -> str:
    tags = ("pdbx_refine_id", "ls_d_res_high", "ls_R_factor_R_free", "ls_percent_reflns_obs")
    return loop("refine", tags, rows)


def quality(entry: ParsedEntry) -> tuple[float | None, float | None, float | None]:
    told = entry.metadata
    return told.resolution, told.r_free, told.data_completeness


@pytest.mark.parametrize("order", [(XRAYS, NEUTRONS), (NEUTRONS, XRAYS)])
def test_of_x_rays_and_neutrons_the_x_rays_count_in_any_order(order):
    text = cif_text(PEPTIDE, before=refinements(*(REFINED[method] for method in order)))
    for entry in (read(text), read_chains(as_binary(text), "x")):
        assert quality(entry) == (1.5, 0.18, 0.95)


def test_what_is_not_said_of_x_rays_is_not_taken_from_neutrons():
    told = with_categories(refinements(REFINED[NEUTRONS], (XRAYS, "1.5", "?", "?")))
    assert quality(told) == (1.5, None, None)


def test_without_x_rays_the_first_value_counts():
    rows = (NEUTRONS, "?", "0.3", "60"), REFINED[NEUTRONS]
    assert quality(with_categories(refinements(*rows))) == (2.2, 0.3, 0.6)


@pytest.mark.parametrize("types", [("x-ray", "neutron"), ("neutron", "x-ray")])
def test_of_two_data_sets_that_of_x_rays_counts(types):
    radiation = loop(
        "diffrn_radiation",
        ("diffrn_id", "pdbx_scattering_type"),
        [["1", types[0]], ["2", types[1]]],
    )
    tags = ("pdbx_diffrn_id", "d_resolution_high", "percent_possible_obs")
    data = loop("reflns", tags, [["1", "1.7", "98.0"], ["2", "2.4", "64.0"]])
    expected = (1.7, None, 0.98) if types[0] == "x-ray" else (2.4, None, 0.64)
    assert quality(with_categories(radiation, data)) == expected
    assert quality(with_categories(data)) == (1.7, None, 0.98), "who says no type: the first"


DATA = ("pdbx_diffrn_id", "d_resolution_high", "percent_possible_obs")
BOTH_DATA = [["1", "2.4", "64.0"], ["2", "1.7", "98.0"]]
BOTH_METHODS = loop("exptl", ("method",), [[NEUTRONS], [XRAYS]])


def radiation(*types: str) -> str:
    rows = [[str(k), told] for k, told in enumerate(types, 1)]
    return loop("diffrn_radiation", ("diffrn_id", "pdbx_scattering_type"), rows)


@pytest.mark.parametrize("data", [BOTH_DATA, BOTH_DATA[:1]])
def test_data_that_may_be_of_neutrons_are_not_mixed_with_a_refinement_against_x_rays(data):
    refined = refinements(REFINED[NEUTRONS], (XRAYS, "?", "0.18", "?"))
    text = cif_text(PEPTIDE, before=refined + loop("reflns", DATA, data))
    for entry in (read(text), read_chains(as_binary(text), "x")):
        assert quality(entry) == (None, 0.18, None)
        assert entry.flags == ["experiment_unclear:reflns"]


@pytest.mark.parametrize("method", ["?", NEUTRONS])
def test_a_refinement_that_may_be_of_neutrons_is_not_mixed_with_data_of_x_rays(method):
    refined = refinements((method, "2.2", "0.26", "70"))
    told = with_categories(refined, radiation("neutron", "x-ray"), loop("reflns", DATA, BOTH_DATA))
    assert quality(told) == (1.7, None, 0.98)
    assert told.flags == (["experiment_unclear:refine"] if method == "?" else [])


def test_without_a_word_of_which_is_which_nothing_is_taken_of_two_experiments_but_all_of_one():
    refined = refinements(("?", "2.2", "0.26", "70"), ("?", "1.5", "0.18", "95"))
    told = with_categories(BOTH_METHODS, refined, loop("reflns", DATA, BOTH_DATA))
    assert quality(told) == (None, None, None)
    assert told.flags == ["experiment_unclear:refine", "experiment_unclear:reflns"]
    # NMR has no reflections; and one table that misnames an experiment makes no second one.
    methods = loop("exptl", ("method",), [[XRAYS], ["'SOLUTION NMR'"]])
    told = with_categories(methods, refined, loop("reflns", DATA, BOTH_DATA[1:]))
    assert (quality(told), told.flags) == ((2.2, 0.26, 0.98), [])
    of_neutrons = f"_exptl.method {NEUTRONS}\n# \n", radiation("neutron")
    told = with_categories(
        *of_neutrons, refinements(REFINED[XRAYS]), loop("reflns", DATA, BOTH_DATA[:1])
    )
    assert (quality(told), told.flags) == ((1.5, 0.18, 0.64), [])


def test_data_merged_of_sets_of_both_radiations_are_of_neither():
    merged = loop("reflns", DATA, [["'1, 2'", "1.7", "98.0"]])
    told = with_categories(radiation("x-ray", "x-ray"), merged)
    assert (quality(told), told.flags) == ((1.7, None, 0.98), [])
    told = with_categories(radiation("x-ray", "neutron"), merged)
    assert (quality(told), told.flags) == ((None, None, None), ["experiment_unclear:reflns"])


# ---- where the header of a PDB file ends --------------------------------------------------------


@pytest.mark.parametrize("line", ["MODEL        1", "MODEL built by hand", "MODELLER 9.25"])
def test_a_pdb_header_behind_the_word_model_is_one(line):
    header = [
        "HEADER    HYDROLASE                               01-JAN-00   1ABC",
        "EXPDTA    X-RAY DIFFRACTION",
        "REMARK   2 RESOLUTION.    1.90 ANGSTROMS.",
    ]
    atoms = chain(["ALA", "GLY"])
    ends = ["ENDMDL"] if line.endswith("1") else []
    plain = read(pdb_text(header, [line], atoms, ends, "END"))
    found = read(pdb_text([line], header, atoms, ends, "END"))
    assert found.metadata == plain.metadata
    assert (found.metadata.method, found.metadata.resolution) == ("X-RAY DIFFRACTION", 1.9)


# ---- what passes a filter because it is not said ------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    two_chains = [*PEPTIDE, *chain(["ALA", "GLY"], chain="B", shift=40.0)]
    for name, atoms, head in (
        ("early", PEPTIDE, OLD_REVISIONS),
        ("late", PEPTIDE, REVISIONS.format("2024-05-06")),
        ("never", two_chains, REVISIONS.format("2024-13-45")),
        ("unsaid", PEPTIDE, ""),
    ):
        (source / f"{name}.cif").write_text(cif_text(atoms, before=head))
    return source


def test_a_build_says_how_many_entries_passed_a_filter_without_a_value(folder, tmp_path, capsys):
    told = build_here(folder, tmp_path / "out", released_before="2020-01-01", max_r_free=0.3)
    assert told["entries_without"] == {"release-date": 2, "r-free": 3}
    assert {n: r["reason"] for n, r in inputs(tmp_path / "out").items() if r["reason"]} == {
        "late.cif": "max-release-date"
    }
    assert inputs(tmp_path / "out")["never.cif"]["flags"] == ["no_date:2024-13-45"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "unknown of 3 entries 2 without release-date, 3 without r-free, which" in printed
    assert "--drop-unknown release-date r-free drops them" in printed


def test_a_build_says_nothing_of_values_that_no_filter_judges(folder, tmp_path, capsys):
    assert "entries_without" not in build_here(folder, tmp_path / "out")
    told = build_here(
        folder, tmp_path / "known", released_before="2020-01-01", drop_unknown=["release-date"]
    )
    assert (told["counts"]["entries"], told["entries_without"]) == (1, {"release-date": 0})
    assert "--drop-unknown" not in capsys.readouterr().out
