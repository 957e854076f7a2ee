"""What B-factors are: a file is a prediction by what it says, and never by its values alone."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zstandard

from pipeline.built.reading import Reading
from pipeline.parsing import ParsedEntry, read_chains
from tests.support.build_runs import build_here, inputs
from tests.support.places import EXAMPLES, STRUCTURES
from tests.support.structure_text import Atom, change, cif_text, loop, pdb_text, read

ENTRIES = {"1orc": "1orc.pdb.gz", "1ubi": "1ubi.pdb.zst", "1ejg": "1ejg.pdb.gz"}
FORMATS = ("pdb", "cif")
CELL = {
    "pdb": "CRYST1   50.840   42.770   28.950  90.00  90.00  90.00 P 21 21 21    4\n",
    "cif": "_cell.length_a 50.84\n_cell.length_b 42.77\n_cell.length_c 28.95\n# \n",
}
NO_CELL = {
    "pdb": "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n",
    "cif": "_cell.length_a 1.000\n_cell.length_b 1.000\n_cell.length_c 1.000\n# \n",
}


@cache
def measured(entry: str) -> tuple[Atom, ...]:
    """The first 30 residues of an entry of the examples, with the B-factors of the crystal."""
    data = (EXAMPLES / ENTRIES[entry]).read_bytes()
    unpack = zstandard.ZstdDecompressor().decompressobj().decompress
    text = (gzip.decompress(data) if entry != "1ubi" else unpack(data)).decode()
    atoms = []
    for line in text.splitlines():
        if line.startswith("ATOM") and line[16] in " A" and line[21] in " A":
            xyz = (line[30:38].strip(), line[38:46].strip(), line[46:54].strip())
            number = line[22:26].strip()
            b, element = line[60:66].strip(), line[76:78].strip() or None
            name, comp = line[12:16].strip(), line[17:20].strip()
            atoms.append(Atom(name, comp, "A", number, line[26].strip(), xyz, b=b, element=element))
    numbers = list(dict.fromkeys((a.number, a.ins) for a in atoms))[:30]
    return tuple(a for a in atoms if (a.number, a.ins) in numbers)


def predicted(entry: str, low: float = 48.0, high: float = 97.0) -> list[Atom]:
    """The same with a confidence for each residue, between two values."""
    atoms = measured(entry)
    keys = list(dict.fromkeys((a.number, a.ins) for a in atoms))
    waves = 0.5 - 0.5 * np.cos(np.arange(len(keys)) * 2 * np.pi / (len(keys) - 1))
    values = {k: f"{low + (high - low) * w:.2f}" for k, w in zip(keys, waves, strict=True)}
    return [replace(a, b=values[a.number, a.ins]) for a in atoms]


def of_atoms(atoms: Sequence[Atom], slope: float) -> list[Atom]:
    """The same with values that rise from the backbone to the end of a side chain, or fall."""
    steps = {"G": 1, "D": 2, "E": 3, "Z": 4, "H": 5, "B": 0}
    inner = ("N", "CA", "C", "O", "OXT")
    return [
        a
        if a.name in inner
        else replace(a, b=f"{float(a.b) + slope * (1 + steps.get(a.name[1:2], 0)):.2f}")
        for a in atoms
    ]


def record(name: str, *texts: str) -> str:
    return "".join(f"{name:<10}{text}\n" for text in texts)


def written(kind: str, atoms: Sequence[Atom], head: str = "", tail: str = "") -> str:
    """A file with records before (and after) its atoms."""
    if kind == "pdb":
        return head + pdb_text(atoms, "END") + tail
    return cif_text(atoms, head, tail)


def told(entry: ParsedEntry) -> tuple[str | None, str | None, list[str]]:
    kinds = {c.metadata.confidence_kind for c in entry.chains} | {entry.metadata.confidence_kind}
    assert len(kinds) == 1
    return kinds.pop(), entry.metadata.source, entry.flags


def values(entry: ParsedEntry) -> list[float]:
    """B-factors of all chains, in order."""
    return [round(float(b), 3) for c in entry.chains for b in c.b_factor]


# ---- the source ---------------------------------------------------------------------------------


EXPERIMENT = {
    "pdb": (
        "HEADER    HYDROLASE                               01-MAR-23   8ABC\n"
        "TITLE     {}\nEXPDTA    X-RAY DIFFRACTION\n"
    ),
    "cif": (
        "_entry.id 8ABC\n_struct.title '{}'\n_exptl.method 'X-RAY DIFFRACTION'\n"
        "_database_2.database_id PDB\n_database_2.database_code 8ABC\n# \n"
    ),
}
TITLES = (
    "CRYSTAL STRUCTURE OF A HYDROLASE PHASED WITH AN ALPHAFOLD MODEL",
    "STRUCTURE OF X SOLVED WITH ITS ALPHAFOLD2 PREDICTION (P29373)",
    "ALPHAFOLD MONOMER V2.0 PREDICTION FOR HEMOGLOBIN (P69905)",
)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("title", TITLES)
def test_a_title_that_speaks_of_alphafold_makes_no_model_of_an_experiment(title, kind, entry):
    text = written(kind, measured(entry), EXPERIMENT[kind].format(title))
    assert told(read(text)) == (None, "PDB", [])
    assert values(read(text)) == values(read(written(kind, measured(entry))))
    assert read(text, b_factor_is="plddt").metadata.confidence_kind is None


@pytest.mark.parametrize(
    "title",
    [
        "MY OWN ALPHAFOLD2 PREDICTION OF PROTEIN X (COLABFOLD)",
        "ESMFOLD V1 PREDICTION FOR INPUT",
        "PREDICTED STRUCTURE OF PROTEIN X",
        "PROTEIN X AS PREDICTED BY OURSELVES (P29373)",
        "DESIGN 7, COLOURED BY PLDDT",
        "ALPHAFOLD MONOMER V2.0 PREDICTION FOR MY PROTEIN (VERSION 3)",
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_ones_own_prediction_has_a_confidence_and_no_database(title, kind):
    head = {"pdb": record("TITLE", title), "cif": f"_entry.id mine\n_struct.title '{title}'\n# \n"}
    atoms = predicted("1orc")
    assert told(read(written(kind, atoms, head[kind]))) == ("plddt", None, [])
    # All equal, as in a file that somebody has averaged: it is said, so it need not be guessed.
    flat = change(atoms, b="91.25")
    assert told(read(written(kind, flat, NO_CELL[kind] + head[kind]))) == ("plddt", None, [])


@pytest.mark.parametrize(
    "title",
    ["STRUCTURE OF A PREDICTED PROTEIN", "UNPREDICTABLE", "PREDICTED HYDROLASE FROM E. COLI"],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_predicted_protein_is_a_name(title, kind):
    head = {"pdb": record("TITLE", title), "cif": f"_struct.title '{title}'\n# \n"}
    assert told(read(written(kind, measured("1orc"), head[kind]))) == (None, None, [])


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "title",
    [
        ("ALPHAFOLD MONOMER V2.0 PREDICTION FOR INTERLEUKIN-1 (A0A0R4IYF1)",),
        ("ALPHAFOLD MONOMER V2.0 PREDICTION FOR STRIATIN-INTERACTING", "  PROTEIN 1 (Q5VSL9)"),
        ("ALPHAFOLD MONOMER V2.0 PREDICTION FOR A LONG NAME (A0A0R4", "  IYF1)"),
        ("ALPHAFOLD MONOMER V2.0 PREDICTION FOR TUMOR ANTIGEN P53 (P04637-2)",),
        ("ALPHAFOLD MONOMER V2.0 PREDICTION FOR P29373",),
        ("AF-P29373-F1-model_v4",),
        ("AF-P04637-2-F1-model_v4.pdb",),
        ("AF-Q8WZ42-F157-model_v6",),
    ],
)
def test_titles_in_the_form_of_alphafold_db_are_its_own(title, entry):
    head = "HEADER                                            01-JUN-22\n" + record("TITLE", *title)
    assert told(read(written("pdb", predicted(entry), head))) == ("plddt", "AlphaFold DB", [])
    joined = " ".join(part.strip() for part in title)
    if len(title) == 1:
        text = written("cif", predicted(entry), f"_entry.id x\n_struct.title '{joined}'\n# \n")
        assert told(read(text)) == ("plddt", "AlphaFold DB", [])


@pytest.mark.parametrize("ident", ["AF-P29373-F1", "AF-P04637-2-F1", "AF_AFP29373F1"])
def test_entry_ids_of_alphafold_db_are_its_own(ident):
    text = written("cif", predicted("1ubi"), f"_entry.id {ident}\n# \n")
    assert told(read(text)) == ("plddt", "AlphaFold DB", [])
    assert read(text).metadata.file_entry_id == ident


@pytest.mark.parametrize("ident", ["AF-1-best", "AF-test", "af_run2"])
def test_names_that_begin_like_alphafold_dbs_are_ones_own(ident):
    text = written("cif", predicted("1ubi"), f"_entry.id {ident}\n# \n")
    assert told(read(text)) == (None, None, ["looks_like_plddt"])


# ---- records ------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_parent_record_is_that_of_a_prediction(entry):
    for head in ("PARENT N/A\n", "MODEL        1\nPARENT N/A\n", "PARENT 1abc_A\n"):
        found = read(written("pdb", predicted(entry), head))
        assert told(found) == ("plddt", None, [])
    crystal = written("pdb", measured(entry), CELL["pdb"] + "PARENT N/A\n")
    assert told(read(crystal)) == (None, None, [])


@pytest.mark.parametrize(
    "remark",
    [
        "REMARK  B-factor column: pLDDT\n",
        "REMARK   6 THE MODEL WAS PREDICTED BY A NETWORK\n",
        "REMARK pLDDT 87.1 ptm 0.8\n",
        "REMARK 220 EXPERIMENT TYPE: STRUCTURE PREDICTION\n",
    ],
)
def test_a_remark_may_say_that_it_is_a_prediction(remark):
    atoms = predicted("1ejg")
    assert told(read(written("pdb", atoms, remark)))[0] == "plddt"
    assert told(read(written("pdb", atoms, "EXPDTA    X-RAY DIFFRACTION\n" + remark)))[0] is None
    assert told(read(written("pdb", atoms, CELL["pdb"] + remark)))[0] is None


def test_the_title_of_a_reference_is_about_something_else():
    remark = "REMARK   1  TITL   HIGHLY ACCURATE PROTEIN STRUCTURE PREDICTION WITH ALPHAFOLD\n"
    assert told(read(written("pdb", measured("1orc"), remark))) == (None, None, [])


@pytest.mark.parametrize(
    "software",
    [
        "_software.name Fold\n_software.classification other\n"
        "_software.description 'Structure prediction'\n",
        loop(
            "software",
            ("pdbx_ordinal", "name", "classification", "description"),
            [["1", "A", "'data collection'", "."], ["2", "B", "'structure prediction'", "?"]],
        ),
    ],
)
def test_software_records_may_say_that_it_is_a_prediction(software):
    text = written("cif", predicted("1ubi"), f"_entry.id x\n# \n{software}# \n")
    assert told(read(text)) == ("plddt", None, [])
    crystal = written("cif", measured("1ubi"), f"{CELL['cif']}{software}# \n")
    assert told(read(crystal)) == (None, None, [])


METRICS = {
    "global and local, without details": (
        loop(
            "ma_qa_metric",
            ("id", "mode", "name", "software_group_id", "type"),
            [["1", "global", "pLDDT", "1", "pLDDT"], ["2", "local", "pLDDT", "1", "pLDDT"]],
        )
    ),
    "one, local": (
        loop(
            "ma_qa_metric",
            ("id", "name", "description", "type", "mode", "type_other_details"),
            [["1", "pLDDT", "'Predicted lddt'", "pLDDT", "local", "."]],
        )
    ),
    "known by its type": (
        "_ma_qa_metric.id 1\n_ma_qa_metric.name confidence\n"
        "_ma_qa_metric.type 'pLDDT all-atom in [0,1]'\n_ma_qa_metric.mode local\n"
    ),
    "of an atom, without a local metric": "_ma_qa_metric.id 1\n_ma_qa_metric.name 'mean PLDDT'\n",
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("head", ["_entry.id model", "_entry.id 7ubd", "_entry.id MY_FOLD"])
def test_a_metric_of_modelcif_says_it_and_nothing_about_a_database(head, metric, entry):
    """AlphaFold 3, Boltz, Chai and others write such files: each atom or residue has its own."""
    computed = "_struct.pdbx_structure_determination_methodology computational\n"
    text = written("cif", predicted(entry), f"{head}\n{computed}# \n{METRICS[metric]}# \n")
    assert told(read(text)) == ("plddt", None, [])
    assert values(read(text)) == values(read(written("cif", predicted(entry))))
    atoms = of_atoms(predicted(entry, 60, 95), -2)
    text = written("cif", atoms, f"{head}\n# \n{METRICS[metric]}# \n")
    assert told(read(text)) == ("plddt", None, [])


def test_other_metrics_are_no_confidence():
    metric = "_ma_qa_metric.id 1\n_ma_qa_metric.name zDOPE\n_ma_qa_metric.type zscore\n"
    head = f"_entry.id x\n_exptl.method 'THEORETICAL MODEL'\n# \n{metric}# \n"
    assert told(read(written("cif", measured("1orc"), head))) == (None, None, [])


# ---- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("low", "high"), [(48, 97), (0.48, 0.97)])
def test_values_like_plddt_are_flagged_and_stay_b_factors(low, high, kind, entry):
    atoms = predicted(entry, low, high)
    bare = read(written(kind, atoms))
    assert told(bare) == (None, None, ["looks_like_plddt"])
    assert told(read(written(kind, atoms, NO_CELL[kind]))) == told(bare)
    assert max(values(bare)) == pytest.approx(high, rel=0.01)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_plddt_for_each_atom_is_known_by_falling_along_side_chains(kind, entry):
    """AlphaFold 3's models, once another program has left out what they say of themselves."""
    atoms = of_atoms(predicted(entry, 60, 95), -2)
    assert told(read(written(kind, atoms))) == (None, None, ["looks_like_plddt"])
    known = read(written(kind, atoms), b_factor_is="plddt")
    assert told(known) == ("plddt", None, [])


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", FORMATS)
def test_values_say_nothing_where_anything_else_speaks(kind, entry):
    atoms = predicted(entry)
    method = {"pdb": "EXPDTA    {}\n", "cif": "_exptl.method '{}'\n# \n"}[kind]
    heads = [CELL[kind], method.format("SOLUTION NMR"), method.format("THEORETICAL MODEL")]
    if kind == "cif":
        heads.append("_refine.entry_id x\n_refine.ls_d_res_high 2.0\n# \n")
        heads.append("_database_2.database_id PDB\n_database_2.database_code 1ABC\n# \n")
    else:
        heads.append("REMARK   2 RESOLUTION.    1.80 ANGSTROMS.\n")
        heads.append("HEADER    HYDROLASE                               01-MAR-23   8ABC\n")
    for head in heads:
        assert told(read(written(kind, atoms, head)))[::2] == (None, [])


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", FORMATS)
def test_values_that_are_all_equal_out_of_range_or_of_atoms_are_not_flagged(kind, entry):
    atoms = predicted(entry)
    others = [
        measured(entry),
        change(atoms, b="91.25"),
        change(atoms, b="0.00"),
        change(atoms, b="1.00"),
        predicted(entry, 60, 120),
        predicted(entry, -5, 90),
        predicted(entry, 5, 30),
        of_atoms(atoms, 0.5),
        of_atoms(predicted(entry, 5, 30), -0.5),
    ]
    for other in others:
        assert told(read(written(kind, other))) == (None, None, [])


# ---- scale --------------------------------------------------------------------------------------


SAYS = {"pdb": "PARENT N/A\n", "cif": f"{METRICS['one, local']}# \n"}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", FORMATS)
def test_confidences_from_0_to_1_are_stored_from_0_to_100(kind, entry):
    found = read(written(kind, predicted(entry, 0.48, 0.97), SAYS[kind]))
    whole = read(written(kind, predicted(entry), SAYS[kind]))
    assert told(found) == ("plddt", None, ["confidence_rescaled"])
    assert told(whole) == ("plddt", None, [])
    assert values(found) == [round(v) for v in values(found)]  # 87, not 86.99999
    assert np.allclose(values(found), values(whole), atol=0.51)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_scale_is_that_of_the_file_not_of_a_chain(kind):
    good, poor = predicted("1orc"), change(predicted("1ubi", 0.2, 0.9), chain="B", entity="2")
    poor = [replace(a, xyz=(f"{float(a.xyz[0]) + 100:.3f}", a.xyz[1], a.xyz[2])) for a in poor]
    found = read(written(kind, [*good, *poor], SAYS[kind]))
    assert told(found) == ("plddt", None, [])
    assert [round(float(c.b_factor.max()), 1) for c in found.chains] == [96.9, 0.9]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("b", ["0.00", "1.00", "150.00", "-1.00"])
def test_values_that_are_no_confidence_are_not_made_one(kind, b):
    atoms = change(predicted("1ejg"), b=b)
    found = read(written(kind, atoms, SAYS[kind]))
    assert told(found) == (None, None, ["no_confidence"])
    assert set(values(found)) == {float(b)}


IN_PASSING = {
    "PARENT": {"pdb": "PARENT N/A\n"},
    "title": {
        "pdb": record("TITLE", "PREDICTED STRUCTURE MODEL 1"),
        "cif": "_struct.title 'PREDICTED STRUCTURE MODEL 1'\n# \n",
    },
    "remark": {"pdb": "REMARK   6 SECONDARY STRUCTURE PREDICTION BY DSSP\n"},
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("kind", "head"),
    [
        pytest.param(kind, head, id=f"{where}-{kind}")
        for where, heads in IN_PASSING.items()
        for kind, head in heads.items()
    ],
)
def test_a_prediction_may_have_other_values_than_a_confidence(kind, head, entry):
    """Models of CASP had errors in Å there, others have what their template had."""
    for atoms in (predicted(entry, 0.8, 9), of_atoms(predicted(entry, 20, 45), 1)):
        found = read(written(kind, atoms, head))
        assert told(found) == (None, None, ["no_confidence"])
        assert values(found) == values(read(written(kind, atoms)))
        assert told(read(written(kind, atoms, head), b_factor_is="plddt"))[0] == "plddt"


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("kind", "head"), [*IN_PASSING["PARENT"].items(), *IN_PASSING["title"].items()]
)
def test_a_poor_prediction_has_a_confidence(kind, head, entry):
    for atoms in (predicted(entry, 25, 45), of_atoms(predicted(entry, 60, 95), -2)):
        assert told(read(written(kind, atoms, head))) == ("plddt", None, [])
    low = read(written(kind, predicted(entry, 0.25, 0.45), head))
    assert told(low) == ("plddt", None, ["confidence_rescaled"])


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", FORMATS)
def test_who_knows_can_say_that_b_factors_are_plddt(kind, entry):
    def known(atoms, head=""):
        return told(read(written(kind, atoms, head), b_factor_is="plddt"))

    method = {"pdb": "EXPDTA    {}\n", "cif": "_exptl.method '{}'\n# \n"}[kind]
    atoms = predicted(entry)
    assert known(atoms) == known(atoms, CELL[kind]) == ("plddt", None, [])
    assert known(atoms, method.format("THEORETICAL MODEL")) == ("plddt", None, [])
    assert known(change(atoms, b="91.25")) == ("plddt", None, [])
    assert known(predicted(entry, 0.1, 0.9)) == ("plddt", None, ["confidence_rescaled"])
    assert known(change(atoms, b="0.00")) == (None, None, ["no_confidence"])
    assert known(measured(entry), method.format("SOLUTION NMR")) == (None, None, [])
    assert known(measured(entry), EXPERIMENT[kind].format("X")) == (None, "PDB", [])


# ---- builds -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Files whose confidence is low, high, unsaid and none."""
    folder = tmp_path / "in"
    folder.mkdir()
    low, high = predicted("1orc", 20, 40), predicted("1ubi", 80, 95)
    experiment = EXPERIMENT["pdb"].format(TITLES[0])
    for name, text in {
        "low.pdb": written("pdb", low, SAYS["pdb"]),
        "high.cif": written("cif", high, SAYS["cif"]),
        "share.pdb": written("pdb", predicted("1ejg", 0.8, 0.95), SAYS["pdb"]),
        "unsaid.pdb": written("pdb", predicted("1orc", 50, 60)),
        "flat.pdb": written("pdb", change(high, b="91.25")),
        "crystal.pdb": written("pdb", measured("1ejg"), experiment),
    }.items():
        (folder / name).write_text(text)
    return folder


def test_the_summary_says_how_many_chains_passed_without_a_confidence(folder, tmp_path, capsys):
    found = build_here(folder, tmp_path / "out", min_plddt=70.0)
    rows = inputs(tmp_path / "out")
    assert {n: r["reason"] for n, r in rows.items() if r["reason"]} == {"low.pdb": "min-plddt"}
    assert rows["unsaid.pdb"]["flags"] == ["looks_like_plddt"]
    assert rows["share.pdb"]["flags"] == ["confidence_rescaled"]
    assert found["chains_without_confidence"] == 3
    assert found["sources"].keys() == {"PDB", "unknown"}
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 of 5 chains, which --min-plddt lets pass" in printed

    found = build_here(folder, tmp_path / "known", min_plddt=70.0, b_factor_is="plddt")
    rows = inputs(tmp_path / "known")
    assert {n for n, r in rows.items() if r["reason"] == "min-plddt"} == {"low.pdb", "unsaid.pdb"}
    assert found["chains_without_confidence"] == 1
    assert "no pLDDT 1 of 4 chains" in " ".join(capsys.readouterr().out.split())

    found = build_here(folder, tmp_path / "strict", min_plddt=70.0, drop_unknown=["plddt"])
    assert (found["counts"]["chains"], found["chains_without_confidence"]) == (2, 0)
    assert "lets pass" not in capsys.readouterr().out


def test_without_such_a_filter_nothing_is_said_of_it(folder, tmp_path, capsys):
    assert "chains_without_confidence" not in build_here(folder, tmp_path / "out")
    assert "plddt" not in capsys.readouterr().out.lower()


def test_only_what_is_known_of_b_factors_is_part_of_the_configuration():
    assert "b_factor_is" not in Reading().identity()
    assert Reading(b_factor_is="plddt").identity()["b_factor_is"] == "plddt"
    assert Reading(b_factor_is="plddt").config_hash != Reading().config_hash


# ---- real files ---------------------------------------------------------------------------------


def read_file(path: Path) -> ParsedEntry:
    return read_chains(gzip.decompress(path.read_bytes()), path.name.partition(".")[0])


needs_shared = pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the shared structures")


@needs_shared
def test_all_files_of_alphafold_db_are_known():
    files = sorted((STRUCTURES / "afdb").glob("*.gz"))
    assert len(files) > 30
    for path in files:
        kind, source, flags = told(read_file(path))
        assert (kind, source) == ("plddt", "AlphaFold DB"), path.name
        assert not {"no_confidence", "confidence_rescaled", "looks_like_plddt"} & {*flags}


@needs_shared
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reported/F14_title_mentions_alphafold.pdb.gz", (None, "PDB", [])),
        ("reported/F14_own_af2_title.pdb.gz", ("plddt", None, [])),
        ("reported/F15_esmfold_api.pdb.gz", ("plddt", None, ["confidence_rescaled"])),
        ("reported/F15_colabfold_rank1.pdb.gz", (None, None, [])),
        ("edge/af3_model_no_exptl__7ubd_from_af3.cif.gz", ("plddt", None, ["left_out:0/8"])),
        ("edge/pdb2pqr_cif_variants__boltz2_olanzapine_P28335.cif.gz", ("plddt", None, [])),
        (
            "edge/computed_model_no_exptl__UniRef50_A0A1H9L980.cif.gz",
            (None, None, ["looks_like_plddt"]),
        ),
        ("edge/computed_rosetta_no_exptl__rosetta_model.pdb.gz", (None, None, [])),
        ("edge/computed_model_modbase__NP_027420.1_1.cif.gz", (None, None, [])),
    ],
)
def test_reported_and_odd_files_are_what_they_say(name, expected):
    assert told(read_file(STRUCTURES / name)) == expected


@needs_shared
def test_the_reported_prediction_of_equal_values_is_known_if_it_is_said():
    path = STRUCTURES / "reported" / "F15_colabfold_rank1.pdb.gz"
    data = gzip.decompress(path.read_bytes())
    found = read_chains(data, "x", b_factor_is="plddt")
    assert (told(found), set(values(found))) == (("plddt", None, []), {91.25})
