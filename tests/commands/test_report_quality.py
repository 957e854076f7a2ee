"""What the report shows of quality, and its gallery."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.built.built_dataset import BuiltDataset
from pipeline.report import write_report
from pipeline.report.extremes import Extreme
from pipeline.report.gallery import N_SHOWN, choose_strange, choose_typical
from pipeline.report.gather import Numbers, gather
from pipeline.report.outliers import find_outliers
from pipeline.report.quality import MEASURES
from pipeline.report.ramachandran import in_regions, ramachandran_plot
from pipeline.where import parse_where


@pytest.fixture(scope="module")
def numbers(examples_dataset: Path) -> Numbers:
    return gather(BuiltDataset.open(str(examples_dataset)))


@pytest.fixture(scope="module")
def page(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("page") / "r.html"
    return Path(write_report(examples_dataset, output, with_chains=True)).read_text("utf-8")


def table(n: int = 40, **columns: list[object]) -> pa.Table:
    """An index of chains that are all alike but for what is given."""
    alike: dict[str, list[object]] = {
        "chain_uid": [f"c{k:02d}" for k in range(n)],
        "entry_id": [f"c{k:02d}" for k in range(n)],
        "source": [None] * n,
        "length": [100 + k for k in range(n)],
        "n_resolved": [100 + k for k in range(n)],
        "n_breaks": [0] * n,
        "radius_of_gyration": [2.2 * (100 + k) ** 0.38 for k in range(n)],
        "fraction_x": [0.0] * n,
        "confidence_kind": [None] * n,
        "mean_b_factor": [20.0] * n,
        "helix_fraction": [0.4] * n,
        "strand_fraction": [0.2] * n,
        "clashes_per_1000_atoms": [0.0] * n,
    }
    made = pa.table({**alike, **columns})
    kinds = {"source": pa.string(), "confidence_kind": pa.string()}
    return made.cast(pa.schema([(f.name, kinds.get(f.name, f.type)) for f in made.schema]))


def test_each_column_has_its_distribution(page: str, numbers: Numbers) -> None:
    shown = [measure.column for measure, _ in numbers.chains.quality]
    assert shown == [measure.column for measure in MEASURES]
    for measure in MEASURES:
        assert f"Column {measure.column}." in page
        assert f"<h3>{measure.title}</h3>" in page


def test_the_squares_of_the_plots_hold_the_residues_that_the_columns_judge(
    numbers: Numbers, examples_dataset: Path
) -> None:
    counts = numbers.scan.ramachandran
    outliers = sum(in_regions(counts, kind)[0] for kind in range(3))
    share = pq.read_table(examples_dataset / "index.parquet")["ramachandran_outlier_fraction"]
    n_with = sum(value is not None for value in share.to_pylist())
    assert n_with > 20
    assert outliers > 0
    assert counts.sum() > 5_000
    # Left of φ = 0 lies nearly everything but glycine.
    assert counts[0, :36].sum() > 0.9 * counts[0].sum()
    assert counts[1, 36:].sum() > 0.3 * counts[1].sum()


def test_a_plot_draws_as_little_of_many_residues_as_of_few() -> None:
    few = np.zeros((3, 72, 72), np.int64)
    few[0, 20:30, 20:30] = 1
    plots = [ramachandran_plot(counts, 0, "φ") for counts in (few, few * 10**9)]
    assert plots[0] == plots[1]
    assert plots[0].count("<path") == 3
    assert len(plots[0]) < 20_000


def test_chains_that_are_far_out_are_named_with_a_condition_that_keeps_the_others() -> None:
    clashes: list[object] = [0.0] * 38 + [7.5, None]
    index = table(clashes_per_1000_atoms=clashes)
    (oddity,) = find_outliers(index, (), 0)
    assert (oddity.name, oddity.n) == ("Clashes", 1)
    assert [(c.chain_uid, c.finding) for c in oddity.chains] == [("c38", "7.5")]
    kept = index.filter(parse_where(oddity.keeps_others, index.schema))
    assert kept["chain_uid"].to_pylist() == [f"c{k:02d}" for k in range(40) if k != 38]


def test_the_strange_ones_are_the_worst_of_each_kind_in_turns() -> None:
    breaks: list[object] = [0] * 36 + [5, 9, 7, 8]
    clashes: list[object] = [3.0, 4.0] + [0.0] * 38
    plddt: list[object] = [None, None, "plddt", "plddt", "plddt"] + [None] * 35
    mean: list[object] = [20.0, 20.0, 65.0, 31.0, 95.0] + [20.0] * 35
    index = table(
        n_breaks=breaks, clashes_per_1000_atoms=clashes, confidence_kind=plddt, mean_b_factor=mean
    )
    chosen = choose_strange(index, [Extreme(4.0, "c10", "Arg 7")])
    assert [uid for uid, _ in chosen] == [
        "c10",
        "c37",
        "c01",
        "c03",
        "c39",
        "c00",
        "c02",
        "c38",
        "c36",
    ]
    assert [why for _, why in chosen[:4]] == [
        "Arg 7: 4.0 Å",
        "breaks: 9",
        "clashes: 4.0 of 1,000 atoms",
        "mean pLDDT 31",
    ]
    assert choose_strange(table(), ()) == []


def test_the_typical_ones_are_one_of_each_ninth_of_the_lengths_and_none_is_strange() -> None:
    helix: list[object] = [0.9 if k % 4 == 1 else 0.4 for k in range(40)]
    chosen = [k for k, _ in choose_typical(table(helix_fraction=helix), {"c20"})]
    assert len(set(chosen)) == N_SHOWN
    assert 20 not in chosen
    assert chosen == sorted(chosen)
    assert not any(k % 4 == 1 for k in chosen)
    assert [k for k, _ in choose_typical(table(3), ())] == [0, 1, 2]


def test_each_picture_leads_to_the_page_that_shows_its_chain(page: str, numbers: Numbers) -> None:
    gallery = page.split('<section id="gallery">')[1].split("</section>")[0]
    links = re.findall(r'<a href="r-chains.html#([^"]+)"><svg', gallery)
    assert links == numbers.gallery.uids
    assert N_SHOWN < len(links) <= 2 * N_SHOWN
    assert len(set(links)) == len(links)


def test_pictures_are_light_and_without_a_page_of_chains_they_lead_nowhere(
    examples_dataset: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(examples_dataset, tmp_path / "copy")
    text = Path(write_report(copy)).read_text("utf-8")
    gallery = text.split('<section id="gallery">')[1].split("</section>")[0]
    pictures = re.findall(r"<svg.*?</svg>", gallery, re.DOTALL)
    assert "<a " not in gallery
    assert len(pictures) > N_SHOWN
    assert max(map(len, pictures)) < 12_000
    assert sum(map(len, pictures)) < 110_000
    for drawing in pictures:
        numbers_of = re.findall(r"-?\d+", drawing.split(">", 1)[1])
        assert numbers_of
        assert 'aria-label="' in drawing
        assert "nan" not in drawing.lower()
