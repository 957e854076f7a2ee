"""The report of a dataset: its numbers, what it does with hostile text, when it is written."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline.build.conclude
import pipeline.report.scan_shards as scan_shards_module
from pipeline.build.options import BuildOptions
from pipeline.built.built_dataset import BuiltDataset
from pipeline.features import atom14_positions, unpack_mask
from pipeline.files.storage import open_folder
from pipeline.geometry.gaussians import from_all_atoms, from_rigid_and_sidechain
from pipeline.report import write_report
from pipeline.report.command import main
from pipeline.report.gather import Numbers, gather
from pipeline.report.outliers import MOST_NAMED, Oddity, Outlier
from pipeline.report.page import render
from pipeline.report.reasons import meaning
from pipeline.report.reference_composition import SWISS_PROT_PERCENT
from pipeline.report.scan_shards import scan_shards
from pipeline.report.sections.outliers import archive_link
from pipeline.residues import ATOM14_EXISTS, ONE_LETTER, RESTYPES
from pipeline.shards import DamagedShard
from pipeline.where import parse_where
from tests.support import build_runs as runs
from tests.support.places import EXAMPLES, ROOT
from tests.support.s3_server import s3_server

SECTIONS = (
    *("origin", "reasons", "chains", "quality", "outliers", "experiments", "organisms"),
    *("residues", "structure", "ellipsoids", "splits", "storage", "making"),
)
ARCHIVES = re.compile(
    r"https://(www\.rcsb\.org/structure/[0-9A-Z_]+|alphafold\.ebi\.ac\.uk/entry/[0-9A-Z]+"
    r"|www\.ncbi\.nlm\.nih\.gov/Taxonomy/Browser/wwwtax\.cgi\?id=\d+)"
)
"""Where a reader may follow a link to; nothing is loaded from there."""


class Page(HTMLParser):
    """A page taken apart: text, elements, and what they would load or run."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(self.source)
        assert not self._open, f"{self._open} are not closed"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if (tag, name) == ("a", "href") and not (value or "").startswith("#"):
                self.links.append(value or "")
            elif name in ("src", "href", "srcset", "data", "action", "xlink:href"):
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self._text.append(data)

    @property
    def text(self) -> str:
        """What is read, with single blanks."""
        return " ".join(" ".join(self._text).split())

    def section(self, name: str) -> str:
        """The source of a section."""
        return self.source.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def report_of(dataset: Path) -> Page:
    """Write the report and take it apart."""
    path = write_report(dataset)
    assert path == dataset / "report.html"
    page = Page(dataset / "report.html")
    assert [i for i in page.ids if i in SECTIONS] == list(SECTIONS)
    assert page.tags.count("script") == 1
    assert not page.handlers
    assert all(target.startswith(("#", "data:,")) for target in page.loads)
    assert all(ARCHIVES.fullmatch(target) for target in page.links)
    assert len(page.source) < 1_000_000
    for nonsense in ("nan", "None", "inf ", "Undefined"):
        assert not re.search(rf"(?<![\w-]){nonsense}(?![\w-])", page.text), nonsense
    assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', page.source)
    return page


@pytest.fixture
def dataset(examples_dataset: Path, tmp_path: Path) -> Path:
    """A copy of the examples, to be changed."""
    return Path(shutil.copytree(examples_dataset, tmp_path / "examples"))


@pytest.fixture
def peptides(tmp_path: Path) -> Path:
    """A dataset without resolution, method, date or residues other than five types."""
    source = runs.write_peptides(tmp_path / "in", 3)
    runs.build_here(source, tmp_path / "peptides")
    return tmp_path / "peptides"


def change_table(path: Path, column: str, change: Callable[[list], list]) -> None:
    """Put other values into a column of a table."""
    table = pq.read_table(path)
    place = table.column_names.index(column)
    values = pa.array(change(table[column].to_pylist()), table.schema.field(column).type)
    pq.write_table(table.set_column(place, table.schema.field(column), values), path)


def numbers_of(dataset: Path) -> Numbers:
    return gather(BuiltDataset.open(dataset))


# --- numbers -----------------------------------------------------------------------------------


def test_the_page_has_the_counts_of_the_build(dataset: Path) -> None:
    build = runs.build_json(dataset)
    page = report_of(dataset)
    counts = build["counts"]
    assert f"{counts['entries']} entries {counts['chains']} chains" in page.text
    assert f"{counts['residues']:,} residues" in page.text
    assert f"{counts['shard_bytes'] / counts['residues']:.1f} bytes per residue" in page.text
    assert build["digest"] in page.text
    assert build["config_hash"] in page.text
    for source, value in build["sources"].items():
        assert f"{source} , {value['chains']} chains. {value['licence']}" in page.text
    for name, version in build["software"].items():
        assert f"{name} {version}" in page.text


def test_the_funnel_is_that_of_the_tables(dataset: Path) -> None:
    build, numbers = runs.build_json(dataset), numbers_of(dataset)
    counts = build["counts"]
    files, drops = numbers.files, numbers.drops
    assert files is not None
    assert drops is not None
    assert (files.found, files.ok, files.n_failed) == tuple(
        counts[k] for k in ("found", "ok", "failed")
    )
    assert {r.reason: r.n for r in files.skipped} == build["reasons"]["skipped"]
    assert {r.reason: r.n for r in drops} == build["drop_reasons"]
    page = report_of(dataset)
    for reason in files.skipped:
        assert reason.examples[0].input in page.section("reasons")
        assert reason.examples[0].message in page.section("reasons")


def test_every_documented_reason_has_a_meaning() -> None:
    table = (ROOT / "docs" / "parsing.md").read_text(encoding="utf-8")
    table = table.partition("\n## Reasons\n")[2].partition("\n## ")[0]
    codes = re.findall(
        r"`([a-z-]+(?:-…)?)`", "\n".join(re.findall(r"^\|.*?\|(.*?)\|", table, re.M))
    )
    assert len(codes) > 30
    assert [c for c in codes if not meaning(c.replace("…", "length"))] == []
    assert meaning("of-the-future") == ""


def test_chains_and_entries_are_counted_as_the_index_has_them(dataset: Path) -> None:
    index = pq.read_table(dataset / "index.parquet").to_pandas()
    entries = index.drop_duplicates("entry_id")
    chains = numbers_of(dataset).chains
    assert chains.n_entries == len(entries)
    assert dict(chains.methods) == entries["method"].fillna("").value_counts().to_dict()
    assert chains.resolution.n_missing == entries["resolution"].isna().sum()
    assert (
        chains.years
        == entries["release_date"].dropna().str[:4].astype(int).value_counts().to_dict()
    )
    assert chains.length.quartiles[2] == index["length"].median()
    weights = index["n_resolved"] / index["n_resolved"].sum()
    assert chains.secondary[0] == pytest.approx((index["helix_fraction"] * weights).sum())
    assert sum(chains.secondary) == pytest.approx(1)
    assert chains.helix_strand.sum() == len(index)
    assert {c.kind: c.chains for c in chains.confidence} == {
        (None if kind != kind else kind): n
        for kind, n in index["confidence_kind"].value_counts(dropna=False).items()
    }
    assert chains.n_whole == (index["n_resolved"] == index["length"]).sum()


def test_the_composition_is_that_of_the_sequences(dataset: Path) -> None:
    sequences = "".join(
        pq.read_table(dataset / "shards" / "part-00000.parquet", columns=["sequence"])[
            "sequence"
        ].to_pylist()
    )
    found = numbers_of(dataset).scan.composition
    assert found.tolist() == [sequences.count(letter) for letter in ONE_LETTER]
    assert sum(SWISS_PROT_PERCENT.values()) == pytest.approx(100, abs=0.2)
    assert set(SWISS_PROT_PERCENT) == set(ONE_LETTER) - {"X"}


@pytest.mark.parametrize("shape", ["axis_aligned", "full"])
def test_ellipsoid_sizes_are_those_of_the_constructors(shape: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(EXAMPLES / "1bd2.cif.gz", source)
    runs.build_here(source, tmp_path / "out", shape=shape, base_thickness=0.7)
    rows = pq.read_table(tmp_path / "out" / "shards" / "part-00000.parquet")

    def flat(name: str) -> np.ndarray:
        return rows[name].combine_chunks().flatten().to_numpy()

    mask, types = unpack_mask(flat("atom14_mask")), flat("aatype")
    positions = atom14_positions(mask, np.stack([flat(a) for a in "xyz"], axis=-1))
    found = numbers_of(tmp_path / "out").scan
    for name in ("GLY", "ALA", "LEU", "TRP"):
        k = RESTYPES.index(name)
        chosen = (types == k) & (mask == ATOM14_EXISTS[k]).all(axis=1)
        n, ca, c, o, rest = (*positions[chosen, :4].swapaxes(0, 1), positions[chosen, 4:])
        there = mask[chosen, 4:]
        for sizes, gaussians in (
            (found.all_atoms, from_all_atoms(n, ca, c, o, rest, there, 0.7, shape=shape)),
            (found.side_chain, from_rigid_and_sidechain(n, ca, c, rest, there, 0.7, shape=shape)),
        ):
            scale = gaussians.scale
            if gaussians.local_covariance is not None:
                scale = np.sqrt(np.diagonal(gaussians.local_covariance, axis1=-2, axis2=-1))
            for axis in range(3):
                assert sizes.scale[axis].median[k] == pytest.approx(
                    np.quantile(scale[:, axis], 0.5, method="inverted_cdf"), abs=0.003
                )
            volume = 4 / 3 * np.pi * scale.prod(axis=1)
            assert sizes.volume.median[k] == pytest.approx(
                np.quantile(volume, 0.5, method="inverted_cdf"), rel=0.004
            )
        assert found.n_types[k] == chosen.sum()


def test_gly_and_ala_are_marked_and_explained(dataset: Path) -> None:
    section = report_of(dataset).section("ellipsoids")
    marked = re.findall(r'<li class="marked">.*?<b>(\w+)</b>', section, re.S)
    assert sorted(marked) == ["Ala", "Gly"]
    assert "Why all atoms: a side chain of no atom (Gly) or one (Ala)" in section
    assert "Medians over all" in section


def test_a_large_dataset_is_sampled_and_the_page_says_so(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 150, n_residues=12)
    out = tmp_path / "out"
    runs.build_here(source, out, min_part=10**9)
    dataset = BuiltDataset.open(out)
    names = [shard.name for shard in dataset.build.shards]
    whole = scan_shards(dataset.folder, names, 1800, 0.5, "axis_aligned")
    part = scan_shards(dataset.folder, names, 1800, 0.5, "axis_aligned", sample=900)
    assert not whole.is_sample
    assert part.is_sample
    assert 0 < part.sampled_chains < whole.sampled_chains == 150
    assert part.n_types.sum() < whole.n_types.sum()
    assert (part.composition == whole.composition).all()
    assert f"{part.measured_residues:,} of 1,800 residues." in render(gather(dataset, sample=900))
    assert "a sample" not in render(gather(dataset))


def test_of_many_residues_some_ellipsoids_are_measured_and_all_else_is_counted_of_all(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = numbers_of(dataset).scan
    n = whole.measured_residues
    assert n == whole.sampled_residues
    monkeypatch.setattr(scan_shards_module, "ELLIPSOID_RESIDUES", n // 3 + 1)
    monkeypatch.setattr(scan_shards_module, "_BLOCK", 64)
    part = numbers_of(dataset).scan
    assert abs(part.measured_residues - n / 3) < 100
    assert part.n_types.sum() < whole.n_types.sum()
    assert part.sampled_residues == n
    assert (part.ramachandran == whole.ramachandran).all()
    assert [e.chain_uid for e in part.extremes] == [e.chain_uid for e in whole.extremes]
    text = f"a sample, evenly spread over the shards: {part.measured_residues:,} of {n:,} residues"
    assert text in render(numbers_of(dataset))


def test_bytes_of_the_columns_add_up_to_the_shards(dataset: Path) -> None:
    scan = numbers_of(dataset).scan
    on_disk = sum(p.stat().st_size for p in (dataset / "shards").iterdir())
    assert sum(scan.shard_bytes) == on_disk
    assert 0.9 * on_disk < sum(scan.column_bytes.values()) < on_disk
    assert {"x", "covariance", "title"} <= set(scan.column_bytes)


# --- what is odd ------------------------------------------------------------------------------


def oddities(dataset: Path) -> dict[str, Oddity]:
    return {oddity.name: oddity for oddity in numbers_of(dataset).outliers}


def test_outliers_are_those_of_the_index_and_are_named_worst_first(dataset: Path) -> None:
    index = dataset / "index.parquet"
    table = pq.read_table(index).to_pandas()
    n = len(table)
    experimental = np.flatnonzero(table["confidence_kind"].isna())

    def put(column: str, usual: float, **others: float) -> None:
        values = {int(k[1:]): v for k, v in others.items()}
        change_table(index, column, lambda old: [values.get(k, usual) for k in range(n)])

    put("fraction_x", 0.0, r3=1.0, r4=0.5, r5=0.75, r6=0.49)
    put("n_resolved", 100)
    put("radius_of_gyration", 13.0, r7=25.4, r8=30.0, r9=25.2, r10=10.0)
    put("n_breaks", 0, r11=4, r12=5, r13=50)
    put("mean_b_factor", 20.0, **{f"r{experimental[0]}": 0.0})
    put("length", 100, r14=9, r15=2, r16=10)
    put("ramachandran_outlier_fraction", 0.0, r17=0.05, r18=0.2, r19=0.049)
    found = oddities(dataset)
    uid = table["chain_uid"]
    assert {name: [c.chain_uid for c in oddity.chains] for name, oddity in found.items()} == {
        "all X": [uid[3]],
        "mostly X": [uid[5], uid[4]],
        # 2.2 · 100^0.38 = 12.66 Å
        "wide": [uid[8], uid[7]],
        "compact": [uid[10]],
        "B-factors all zero": [uid[experimental[0]]],
        "many breaks": [uid[13], uid[12]],
        "very short": [uid[15], uid[14]],
        "Ramachandran outliers": [uid[18], uid[17]],
    }
    assert found["wide"].chains[0].finding == "30.0 Å, 2.37 times the expected 12.7 Å"
    section = report_of(dataset).section("outliers")
    assert "<code>n_breaks &lt; 5</code>" in section
    assert "50 breaks" in section
    # The condition that the page gives leaves out just these chains.
    changed = pq.read_table(index)
    for oddity in found.values():
        if oddity.keeps_others and "X" not in oddity.name:
            kept = changed.filter(parse_where(oddity.keeps_others, changed.schema))
            assert kept.num_rows == n - oddity.n


def test_only_the_worst_are_named_and_all_are_counted(tmp_path: Path) -> None:
    runs.build_here(runs.write_peptides(tmp_path / "in", 12), tmp_path / "out")
    wide = oddities(tmp_path / "out")["wide"]
    assert (wide.n, len(wide.chains)) == (12, MOST_NAMED)
    assert "No chain is mostly X" not in report_of(tmp_path / "out").text


def test_b_factors_that_are_all_zero_are_in_no_histogram(dataset: Path) -> None:
    kinds = pq.read_table(dataset / "index.parquet")["confidence_kind"].to_pylist()
    chosen = [k for k, kind in enumerate(kinds) if kind is None][:4]
    change_table(
        dataset / "index.parquet",
        "mean_b_factor",
        lambda old: [0.0 if k in chosen else 20.0 + k for k in range(len(old))],
    )
    (found,) = (c for c in numbers_of(dataset).chains.confidence if c.kind is None)
    assert found.chains == kinds.count(None)
    assert (found.means.n, found.n_zero) == (found.chains - 4, 4)
    assert found.means.quartiles[0] >= 20
    assert "4 chains whose B-factors are all zero are left out" in report_of(dataset).text


def test_an_ellipsoid_that_no_residue_can_have_is_found(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 3)
    path = source / "p001.pdb"
    lines = path.read_text().splitlines()
    k = next(k for k, line in enumerate(lines) if line[12:16] == " CB " and line[22:26] == "  20")
    lines[k] = lines[k][:46] + f"{float(lines[k][46:54]) + 30:8.3f}" + lines[k][54:]
    path.write_text("\n".join(lines))
    runs.build_here(source, tmp_path / "out")
    (chain,) = oddities(tmp_path / "out")["extreme ellipsoid"].chains
    rows = [
        r for t in (tmp_path / "out" / "shards").iterdir() for r in pq.read_table(t).to_pylist()
    ]
    (row,) = (r for r in rows if r["chain_uid"] == chain.chain_uid)
    xx, xy, xz, yy, yz, zz = row["covariance"][19]
    longest = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])[2] ** 0.5
    assert chain.chain_uid == "p001_1_A"
    assert chain.finding.endswith(f" 20: longest semi-axis {longest:.1f} Å")
    assert longest > 10


def test_no_ellipsoid_of_the_examples_is_extreme(dataset: Path) -> None:
    assert "extreme ellipsoid" not in oddities(dataset)


LINKS = {
    ("1abc", "PDB"): ("PDB", "https://www.rcsb.org/structure/1ABC"),
    ("pdb_1000abcd", "PDB"): ("PDB", "https://www.rcsb.org/structure/PDB_1000ABCD"),
    ("AF-P29373-F1", "AlphaFold DB"): (
        "AlphaFold DB",
        "https://alphafold.ebi.ac.uk/entry/P29373",
    ),
    ("AF_AFP29373F1", "AlphaFold DB"): (
        "AlphaFold DB",
        "https://alphafold.ebi.ac.uk/entry/P29373",
    ),
    ("1abc", None): None,
    ("my_model", "PDB"): None,
    ('1ab"', "PDB"): None,
    ("ma-abc", "ModelArchive"): None,
}


@pytest.mark.parametrize(("entry", "source"), LINKS)
def test_a_chain_leads_to_its_entry_where_that_is_known(entry: str, source: str | None) -> None:
    assert archive_link(Outlier("c", entry, source, 1, "")) == LINKS[entry, source]


def test_missing_residues_are_counted_along_the_whole_sequence(dataset: Path) -> None:
    columns = ["entity_sequence", "residue_index", "atom14_mask"]
    rows = pq.read_table(dataset / "shards" / "part-00000.parquet", columns=columns).to_pylist()
    found = numbers_of(dataset).scan.missing
    residues, missing = np.zeros_like(found.residues), np.zeros_like(found.missing)
    n_without = 0
    for row in rows:
        if not row["entity_sequence"]:
            n_without += 1
            continue
        n = len(row["entity_sequence"])
        there = {
            number
            for number, mask in zip(row["residue_index"], row["atom14_mask"], strict=True)
            if mask & 7 == 7
        }
        group = sum(n >= limit for limit in (50, 100, 200, 400, 800))
        for number in range(1, n + 1):
            piece = (number - 1) * 25 // n
            residues[group, piece] += 1
            missing[group, piece] += number not in there
    assert missing.sum() > 50
    np.testing.assert_array_equal(found.residues, residues)
    np.testing.assert_array_equal(found.missing, missing)
    assert found.n_without == n_without
    assert found.chains.sum() == len(rows) - n_without
    assert "Missing residues along the sequence" in report_of(dataset).section("quality")


def test_radii_are_counted_by_length_for_any_number_of_chains(dataset: Path) -> None:
    index = pq.read_table(dataset / "index.parquet").to_pandas()
    counts = numbers_of(dataset).chains.gyration.counts
    known = (index["n_resolved"] > 1) & (index["radius_of_gyration"] > 0)
    assert counts.sum() == known.sum() > 20
    assert "Skolnick, Kolinski and Ortiz 1997" in report_of(dataset).section("structure")


def test_organisms_and_ligands_are_what_the_index_holds(dataset: Path) -> None:
    index = pq.read_table(dataset / "index.parquet").to_pandas()
    entries = index.drop_duplicates("entry_id")
    chains = numbers_of(dataset).chains
    assert dict(chains.organisms) == index["taxonomy"].value_counts().to_dict()
    assert chains.n_without_organism == index["taxonomy"].isna().sum()
    assert sum(n for _, _, n in chains.ligands) == (entries["n_ligands"] > 0).sum()
    page = report_of(dataset)
    section = page.section("organisms")
    assert "wwwtax.cgi?id=9606" in section
    assert "The dataset holds the numbers, not the names" in page.text
    assert "The dataset holds how many, not which" in page.text


# --- the outliers, to be looked at -------------------------------------------------------------


def test_outliers_can_be_looked_at_in_a_page_beside_the_report(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    runs.build_here(runs.write_peptides(tmp_path / "in", 3), out)
    before = (out / "report.html").read_text()
    assert "--chains" in before
    capfd.readouterr()
    assert main([str(out), "--chains"]) == 0
    size = (out / "report-chains.html").stat().st_size / (1 << 20)
    said = capfd.readouterr().out.splitlines()
    assert said == [str(out / "report.html"), f"{out / 'report-chains.html'} ({size:.1f} MiB)"]
    page, chains = Page(out / "report.html"), (out / "report-chains.html").read_text()
    data = re.search(r'(?s)<script type="application/json" id="data">(.*?)</script>', chains)
    assert data
    names = [scene["name"] for scene in json.loads(data[1])["scenes"]]
    # First in the table of outliers, then in the gallery.
    links = list(dict.fromkeys(page.links))
    assert links == [f"report-chains.html#{name}" for name in names]
    assert len(names) == 3
    first = [path.stat() for path in (out / "report.html", out / "report-chains.html")]
    assert main([str(out), "--chains"]) == 0
    again = [path.stat() for path in (out / "report.html", out / "report-chains.html")]
    assert [s.st_ino for s in first] == [s.st_ino for s in again]
    elsewhere = tmp_path / "a page.html"
    assert main([str(out), "--chains", "--output", str(elsewhere)]) == 0
    assert (tmp_path / "a page-chains.html").read_text() == chains
    assert 'href="a%20page-chains.html#p000_1_A"' in elsewhere.read_text()
    # A report without it leads to nothing that is of another day.
    write_report(out)
    assert not (out / "report-chains.html").exists()
    assert (out / "report.html").read_text() == before


def test_a_build_that_changes_the_dataset_removes_both_pages(tmp_path: Path) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    runs.build_here(source, out)
    write_report(out, with_chains=True)
    (source / "p009.pdb").write_text(runs.peptide(30, seed=9))
    runs.build_here(source, out, report=False)
    assert not (out / "report.html").exists()
    assert not (out / "report-chains.html").exists()


# --- what may be missing -----------------------------------------------------------------------


def test_a_dataset_without_chains_has_a_sensible_page(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 2)
    (source / "notes.txt").write_text("no structure")
    runs.build_here(source, tmp_path / "out", min_length=1000, allow_empty=True)
    page = report_of(tmp_path / "out")
    assert "This dataset is empty. It has no chains" in page.text
    assert "min-length" in page.section("reasons")
    assert "no structure format" in page.section("reasons")
    assert "<svg" not in page.source
    assert "0 entries 0 chains 0 residues" in page.text


def test_a_dataset_that_says_nothing_of_experiments_has_a_sensible_page(peptides: Path) -> None:
    page = report_of(peptides)
    assert "No file gives a resolution or a release date." in page.text
    assert "not said (predicted models) 3 100 %" in page.text
    assert "No file failed." in page.text
    assert "Nothing was left out." in page.text


def test_tables_that_are_not_there_are_not_missed(dataset: Path) -> None:
    for name in ("inputs", "drops", "plan"):
        (dataset / f"{name}.parquet").unlink()
    (dataset / "options.yaml").unlink()
    page = report_of(dataset)
    assert "it is not known which files it was made of" in page.text
    assert "--config options.yaml" not in page.text


def test_dates_that_are_none_are_counted_apart(dataset: Path) -> None:
    odd = ["1958-01-01", "0001-01-01", "soon", "", "²⁰¹⁹-01-01", None]
    change_table(
        dataset / "index.parquet",
        "release_date",
        lambda old: [odd[k] if k < len(odd) else None for k in range(len(old))],
    )
    change_table(
        dataset / "index.parquet", "entry_id", lambda old: [f"e{k}" for k in range(len(old))]
    )
    chains = numbers_of(dataset).chains
    assert chains.years == {1958: 1}
    assert chains.n_undated == chains.n - 1
    report_of(dataset)


# --- splits ------------------------------------------------------------------------------------


def write_splits(dataset: Path, **columns: list) -> None:
    pq.write_table(pa.table(columns), dataset / "splits.parquet")


def test_splits_are_counted_with_their_clusters(dataset: Path) -> None:
    index = pq.read_table(dataset / "index.parquet").to_pandas()
    n = len(index)
    split = ["test" if k % 5 == 0 else None if k % 5 == 1 else "train" for k in range(n)]
    write_splits(
        dataset,
        chain_uid=index["chain_uid"].tolist(),
        entry_id=index["entry_id"].tolist(),
        cluster=[f"c{k // 3}" for k in range(n)],
        component=[f"c{k // 9}" for k in range(n)],
        split=split,
        reason=["over <limit>" if s is None else None for s in split],
    )
    found = numbers_of(dataset).splits
    assert found is not None
    assert not isinstance(found, str)
    assert [s.name for s in found.splits] == ["train", "test", None]
    for part in found.splits:
        inside = np.array([s == part.name for s in split])
        assert part.chains == inside.sum()
        assert part.residues == index["length"][inside].sum()
        assert part.entries == index["entry_id"][inside].nunique()
    assert (found.n_clusters, found.largest_cluster) == (math.ceil(n / 3), 3)
    assert (found.n_components, found.largest_component) == (math.ceil(n / 9), 9)
    section = report_of(dataset).section("splits")
    assert "in no split" in section
    assert "over &lt;limit&gt;" in section
    assert "Cluster sizes" in section


def test_splits_of_another_dataset_are_told_apart(dataset: Path) -> None:
    uids = pq.read_table(dataset / "index.parquet")["chain_uid"].to_pylist()
    table = pa.table({"chain_uid": [*uids[:5], "9zzz_1_A"], "split": ["train"] * 6})
    pq.write_table(table.replace_schema_metadata({"digest": "0" * 64}), dataset / "splits.parquet")
    page = report_of(dataset)
    assert "made for a dataset with another digest" in page.text
    assert "lists 1 chain that this dataset does not have" in page.text
    assert f"{len(uids) - 5} chains of {len(uids)} are not in splits.parquet" in page.text


@pytest.mark.parametrize("content", [b"", b"PAR1 and nonsense PAR1"])
def test_splits_that_cannot_be_read_do_not_stop_the_report(dataset: Path, content: bytes) -> None:
    (dataset / "splits.parquet").write_bytes(content)
    assert "splits.parquet cannot be read" in report_of(dataset).text


def test_splits_without_their_columns_do_not_stop_the_report(dataset: Path) -> None:
    write_splits(dataset, name=["a"])
    assert "has no columns chain_uid and split" in report_of(dataset).text
    write_splits(dataset, chain_uid=[1.5], split=[[1]])
    assert "is not what python -m pipeline.split writes" in report_of(dataset).text


def test_thousands_of_splits_stay_a_page(dataset: Path) -> None:
    uids = pq.read_table(dataset / "index.parquet")["chain_uid"].to_pylist()
    write_splits(dataset, chain_uid=uids, split=[f"fold {k}" for k in range(len(uids))])
    assert "further splits not shown" in report_of(dataset).text


# --- hostile text ------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "nul\x00bell\x07escape\x1b[31m",
    "line\nbreak\r\ttab",
    "right \u202eot tfel\u202c \u2066isolate",
    "long " + "x" * 100_000,
    "&amp; &lt;b&gt; ]]> --> <!--",
    "٠١٢ שלום 你好 🧬",
]


def _hostile(old: list) -> list:
    return [HOSTILE[k % len(HOSTILE)] for k in range(len(old))]


def test_hostile_text_is_shown_as_text(dataset: Path) -> None:
    target = dataset.with_name("a <b>\"'& {{ 1 }} \u202e name")
    dataset.rename(target)
    inputs = target / "inputs.parquet"
    for column in ("input", "message", "reason", "format"):
        change_table(inputs, column, _hostile)
    change_table(
        inputs, "status", lambda old: [("failed", "skipped")[k % 2] for k in range(len(old))]
    )
    change_table(inputs, "flags", lambda old: [[HOSTILE[k % 10]] for k in range(len(old))])
    for column in ("entry_id", "label_asym_id", "reason", "detail"):
        change_table(target / "drops.parquet", column, _hostile)
    for column in ("n_breaks", "length"):  # every chain is an outlier
        change_table(target / "index.parquet", column, lambda old: [9 for _ in old])
    columns = ("chain_uid", "entry_id", "method", "source", "confidence_kind", "release_date")
    for column in columns:
        change_table(target / "index.parquet", column, _hostile)
    uids = pq.read_table(target / "index.parquet")["chain_uid"].to_pylist()
    write_splits(
        target,
        chain_uid=uids,
        split=[HOSTILE[k % 10] if k % 3 else None for k in range(len(uids))],
        cluster=_hostile(uids),
        component=_hostile(uids),
        reason=_hostile(uids),
    )
    build = runs.build_json(target)
    build["software"] = dict.fromkeys(HOSTILE, HOSTILE[0])
    build["sources"] = {h: {"chains": 1, "licence": h} for h in HOSTILE}
    build["config"]["filters"]["methods"] = HOSTILE
    build["manifest"] = {"entries": 5, "not_found": 2, "first_not_found": HOSTILE}
    build["derived_from"] = {"where": HOSTILE[0], "datasets": [{"digest": HOSTILE[1]}]}
    (target / "build.json").write_text(json.dumps(build))
    page = report_of(target)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}{% raw %}" in page.text
    assert "alert(1)" not in "".join(re.findall(r"<script>(.*?)</script>", page.source, re.S))
    assert "img" not in page.tags
    assert "x" * 300 not in page.source
    assert "\\u202e" in page.text
    assert not set(page.source) & set("\x00\x07\x1b\u202e\u202c\u2066")
    assert "٠١٢ שלום 你好 🧬" in page.text


# --- the file ----------------------------------------------------------------------------------


def test_the_same_dataset_gives_the_same_page(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 6)
    for name in ("a", "b"):
        runs.build_here(source, tmp_path / name / "set", quiet=True)
    first, second = ((tmp_path / n / "set" / "report.html").read_bytes() for n in "ab")
    assert first == second
    write_report(tmp_path / "a" / "set")
    assert (tmp_path / "a" / "set" / "report.html").read_bytes() == first


def test_a_page_that_is_right_is_left_alone_and_a_wrong_one_replaced(dataset: Path) -> None:
    page = dataset / "report.html"
    write_report(dataset)
    before = page.stat()
    write_report(dataset)
    after = page.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    content = page.read_bytes()
    page.write_text("of another day")
    write_report(dataset)
    assert page.read_bytes() == content
    assert runs.leftovers(dataset) == []


def test_the_command_prints_where_the_page_is(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    elsewhere = tmp_path / "page.html"
    assert main([str(dataset)]) == 0
    assert main(["--dataset", str(dataset), "--output", str(elsewhere)]) == 0
    assert capfd.readouterr().out.splitlines() == [str(dataset / "report.html"), str(elsewhere)]
    assert elsewhere.read_bytes() == (dataset / "report.html").read_bytes()


def test_a_dataset_in_a_store_has_its_page_there(
    dataset: Path, capfd: pytest.CaptureFixture
) -> None:
    with s3_server() as server:
        server.make_bucket("bucket")
        folder = open_folder(server.uri("bucket/a set"))
        for path in sorted(p for p in dataset.rglob("*.*") if p.is_file() and p.name != "lock"):
            name = path.relative_to(dataset).as_posix()
            if not name.startswith(".build"):
                folder.put(name, Path(shutil.copy(path, dataset.with_name("moving"))))
        folder.delete("report.html")
        for _ in range(2):
            assert main([folder.uri]) == 0
        shown = [folder.describe("report.html")] * 2
        assert capfd.readouterr().out.splitlines() == shown
        page = folder.read_bytes("report.html").decode()
    assert "<h1><bdi>a set</bdi></h1>" in page
    write_report(dataset)
    assert page == Page(dataset / "report.html").source.replace("examples", "a set")


def test_a_dataset_may_be_named_by_a_file_uri(dataset: Path) -> None:
    (dataset / "report.html").unlink()
    assert main([dataset.as_uri()]) == 0
    assert (dataset / "report.html").is_file()


REFUSED = {
    "": (2, "--dataset is required"),
    "{dataset} --quick": (2, "there is no option --quick"),
    "{dataset} --output {dataset}": (2, "is a folder; give a file"),
    "{dataset} --output {dataset}/no/page.html": (2, "there is no folder"),
    "{dataset}/shards": (1, "has no build.json, so this is no finished dataset"),
    "{dataset}/nowhere": (1, "has no build.json, so this is no finished dataset"),
    "ftp://server/set": (2, "give a path, or a URI"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_reported_ends_in_one_sentence(
    words: str, dataset: Path, capfd: pytest.CaptureFixture
) -> None:
    status, sentence = REFUSED[words]
    try:
        found = main(words.format(dataset=dataset).split())
    except SystemExit as end:
        found = end.code
    said = capfd.readouterr()
    assert (found, said.out) == (status, "")
    error, *tips = said.err.splitlines()
    assert error.startswith("error: ")
    assert sentence in error
    assert all(tip.startswith("tip: ") for tip in tips)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 4, len(content) // 2, 97):
        content[place] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in ("shards/part-00000.parquet", "index.parquet", "inputs.parquet")
        for damage in ("flipped", "cut", "missing")
        if (name, damage) != ("inputs.parquet", "missing")  # a dataset may be without
    ],
)
def test_damage_is_named_and_leaves_the_older_page(
    name: str, damage: str, dataset: Path, capfd: pytest.CaptureFixture
) -> None:
    path, page = dataset / name, dataset / "report.html"
    page.write_text("older")
    if damage == "flipped":
        _flip(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.unlink()
    assert main([str(dataset)]) == 1
    (sentence,) = capfd.readouterr().err.splitlines()
    assert sentence.startswith("error: ")
    assert str(path) in sentence
    assert page.read_text() == "older"


def test_a_folder_that_cannot_be_written_is_one_sentence(
    dataset: Path, capfd: pytest.CaptureFixture
) -> None:
    assert main([str(dataset), "--output", "/proc/report.html"]) == 1
    (sentence,) = capfd.readouterr().err.splitlines()
    assert sentence.startswith("error: cannot write the report to /proc/report.html: ")


def test_the_command_needs_neither_torch_nor_the_template_engine_to_be_imported() -> None:
    code = (
        "import sys\n"
        "import pipeline.report, pipeline.report.command\n"
        "assert 'jinja2' not in sys.modules\n"
        "import pipeline.report.write\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


# --- in a build --------------------------------------------------------------------------------


def test_a_build_writes_the_page_and_says_where(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    runs.build_here(source, out)
    assert f"look at      {out / 'report.html'}, " in capfd.readouterr().out
    before = (out / "report.html").stat()
    assert "2 entries" in Page(out / "report.html").text
    runs.build_here(source, out)
    after = (out / "report.html").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    (source / "p009.pdb").write_text(runs.peptide(30, seed=9))
    runs.build_here(source, out)
    assert "3 entries" in Page(out / "report.html").text


def test_a_build_without_report_leaves_none_and_is_the_same_dataset(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    first = runs.build_here(source, out)
    second = runs.build_here(source, out, report=False)
    assert first == second
    assert not (out / "report.html").exists()
    assert "report.html" not in capfd.readouterr().out.splitlines()[-2]
    on, off = (BuildOptions(out_dir=out, report=r).whole_reading() for r in (True, False))
    assert on.config_hash == off.config_hash


def test_a_dry_run_writes_no_page(tmp_path: Path) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    done = runs.run("--pdb-dir", source, "--out-dir", out, "--dry-run")
    assert done.status == 0
    assert not out.exists()


@pytest.mark.parametrize("error", [RuntimeError("two\nlines [red]"), DamagedShard(""), OSError(28)])
def test_a_report_that_fails_is_a_line_and_fails_no_build(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    runs.build_here(source, out)

    def fail(_: Path) -> Path:
        raise error

    monkeypatch.setattr(pipeline.build.conclude, "write_report", fail)
    capfd.readouterr()
    summary = runs.build_here(source, out)
    said = capfd.readouterr().out.splitlines()
    (warning,) = (line for line in said if line.startswith("warning: "))
    assert warning.startswith("warning: the dataset is finished, its report is not: ")
    assert not warning.endswith(": ")
    assert said[-1] == "0 of 2 files failed"
    assert summary["counts"]["chains"] == 2
    assert not (out / "report.html").exists()


def test_the_package_carries_the_files_of_the_page() -> None:
    folder = ROOT / "pipeline" / "report"
    text = (folder / "page.html.jinja").read_text(encoding="utf-8")
    assert "|safe" not in text
    assert "autoescape" not in text
    for name in ("page.css", "page.js"):
        content = (folder / name).read_text(encoding="utf-8")
        assert "</" not in content
        assert "http" not in content
