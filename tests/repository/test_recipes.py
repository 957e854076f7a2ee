"""The recipes of docs/development.md: each is followed in a copy of the repository, and works.

What a recipe adds here touches the files that the page names, and no other. So a recipe fails that
has become too short; one that has become too long fails in the slow test, which leaves out a file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.places import EXAMPLES, ROOT

PAGE = ROOT / "docs" / "development.md"


@dataclass(frozen=True)
class Recipe:
    """Something that is added.

    Attributes
    ----------
    heading : str
        Of its section in the page.
    edits : dict
        File → pairs of (text that is there once, text in its place); of a new file, its text.
    pages : dict
        The same for what tells of it.
    program : str
        Python that fails if one of the edits is not made; it calls tests of the repository.
    """

    heading: str
    edits: dict[str, list[tuple[str, str]] | str]
    pages: dict[str, list[tuple[str, str]]]
    program: str


BUILD = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from pipeline.build.command import main
out = Path("built")
def build(source, *options):
    arguments = ["--pdb-dir", source, "--out-dir", out, "--n-jobs", 1, "--quiet", *options]
    assert main([str(a) for a in arguments]) == 0
"""

COLUMN = Recipe(
    "### A column that is derived",
    edits={
        "pipeline/features.py": [
            (
                "    mean_b_factor: float | None\n",
                "    mean_b_factor: float | None\n    n_x: int\n",
            ),
            (
                "mean_b_factor=_mean(",
                "n_x=int(np.count_nonzero(chain.aatype == UNKNOWN)), mean_b_factor=_mean(",
            ),
        ],
        "pipeline/shards/schema.py": [
            (
                '    pa.field("mean_b_factor", pa.float32()),\n',
                '    pa.field("mean_b_factor", pa.float32()),\n    _required("n_x", pa.int32()),\n',
            )
        ],
    },
    pages={
        "docs/format.md": [
            (
                "\n| `n_ligands` | int32 | never",
                "\n| `n_x` | int32 | never | X | `0` |\n| `n_ligands` | int32 | never",
            )
        ],
    },
    program=BUILD
    + """
build("data_manifest/examples/1ubi.pdb.zst")
assert pq.read_table(out / "shards")["n_x"].to_pylist() == [0]
assert pq.read_table(out / "index.parquet")["n_x"].to_pylist() == [0]
from pipeline.verify.check_shard import DERIVED_COLUMNS
from pipeline.verify.command import main as verify
assert "n_x" in DERIVED_COLUMNS
assert verify([str(out), "--quiet", "--n-jobs", "1"]) == 0
from tests.repository import test_docs
test_docs.test_the_documented_columns_of_a_shard_are_those_of_the_schema()
""",
)

RESIDUES = Recipe(
    "### A column of residues",
    edits={
        "pipeline/features.py": [
            ("    n_resolved: int\n", "    is_x: NDArray[np.int8]\n    n_resolved: int\n"),
            ("sse=sse[here],", "sse=sse[here], is_x=(chain.aatype == UNKNOWN).astype(np.int8),"),
        ],
        "pipeline/shards/schema.py": [
            (
                '    _required("sse", _per_residue(pa.int8())),\n',
                '    _required("is_x", _per_residue(pa.int8())),\n'
                '    _required("sse", _per_residue(pa.int8())),\n',
            )
        ],
        "pipeline/selection/fields.py": [
            (
                '    "sse": Field((), "i1", "i8", ("sse",)),\n',
                '    "sse": Field((), "i1", "i8", ("sse",)),\n'
                '    "is_x": Field((), "i1", "i8", ("is_x",)),\n',
            )
        ],
    },
    pages={
        "docs/format.md": [
            ("\n| `sse` | list", "\n| `is_x` | list\\<int8> | never | | |\n| `sse` | list")
        ],
    },
    program=BUILD
    + """
build("data_manifest/examples/1ubi.pdb.zst")
from pipeline.verify.command import main as verify
assert verify([str(out), "--quiet", "--n-jobs", "1"]) == 0
from pipeline.dataset import ShardDataset
item = ShardDataset(out, columns=("aatype", "is_x"))[0]
assert (item["is_x"] == (item["aatype"] == 20)).all()
from tests.repository import test_docs
test_docs.test_the_documented_columns_of_a_shard_are_those_of_the_schema()
""",
)

FILTER = Recipe(
    "### A filter",
    edits={
        "pipeline/filters.py": [
            (
                "    max_breaks: int | None = _rule(least=0)\n",
                "    max_breaks: int | None = _rule(least=0)\n"
                "    max_modified: int | None = _rule(least=0)\n",
            ),
            (
                "    drop_unknown\n        Properties",
                "    max_modified\n        Most modified residues.\n"
                "    drop_unknown\n        Properties",
            ),
            (
                '            or self._most("fraction-x"',
                '            or self._most("modified", chain.n_modified, self.max_modified)\n'
                '            or self._most("fraction-x"',
            ),
        ]
    },
    pages={
        "docs/options.md": [
            ("\n| `--drop-unknown` |", "\n| `--max-modified` | | chains | |\n| `--drop-unknown` |")
        ]
    },
    program=BUILD
    + """
build("data_manifest/examples/1a8o.cif.gz", "--max-modified", 0, "--allow-empty")
(reason,) = set(pq.read_table(out / "drops.parquet")["reason"].to_pylist())
assert reason == "max-modified"
from pipeline.report.reasons import meaning
assert meaning(reason)
from tests.repository import test_docs
test_docs.test_the_option_tables_give_the_defaults()
""",
)

FORMAT = Recipe(
    "### A file format",
    edits={
        "pipeline/sources/names.py": [
            ('Literal["bcif", "cif", "pdb"]', 'Literal["bcif", "cif", "marked", "pdb"]'),
            ('    "pdb": "pdb",\n', '    "pdb": "pdb",\n    "marked": "marked",\n'),
        ],
        "pipeline/sources/sniff.py": [
            (
                '    return "pdb" if _looks_like_pdb',
                '    if text.startswith(b"MARKED"):\n        return "marked"\n'
                '    return "pdb" if _looks_like_pdb',
            )
        ],
        "pipeline/sources/entries.py": [('"pdb": 2, None: 3}', '"pdb": 2, "marked": 3, None: 4}')],
        "pipeline/parsing/NAME.py": "def unmarked(data):\n    return data.partition(b'\\n')[2]\n",
        "pipeline/parsing/read_chains.py": [
            (
                "        else:\n            atoms, info, reader = _read_pdbx(",
                '        elif file_format == "marked":\n'
                "            from pipeline.parsing.NAME import unmarked\n\n"
                "            atoms, info, _ = _read_pdb(unmarked(data), models, accept, flags)\n"
                '            reader = "marked"\n'
                "        else:\n            atoms, info, reader = _read_pdbx(",
            )
        ],
    },
    pages={
        "docs/parsing.md": [("| formats | PDB,", "| formats | marked files, PDB,")],
        "docs/format.md": [
            ("| `format` | string | `pdb`,", "| `format` | string | `marked`, `pdb`,")
        ],
    },
    program=BUILD
    + """
Path("files").mkdir()
text = Path("data_manifest/examples/1a8o.pdb").read_bytes()
Path("files/1a8o.pdb").write_bytes(text)
Path("files/1a8o.marked").write_bytes(b"MARKED\\n" + text)
Path("files/1abc.marked").write_bytes(b"MARKED\\n" + text)
build("files")
rows = {row["input"]: row for row in pq.read_table(out / "inputs.parquet").to_pylist()}
assert {name for name, row in rows.items() if row["status"] == "ok"} == {"1a8o.pdb", "1abc.marked"}
assert rows["1abc.marked"]["format"] == rows["1abc.marked"]["reader"] == "marked"
assert rows["1a8o.marked"]["reason"] == "same-entry"
assert "1 marked" in (out / "report.html").read_text()
""",
)

LOSS = Recipe(
    "### A term of the loss",
    edits={
        "model/losses/flow_loss.py": [
            (
                "    confidence: float = 0.1\n",
                "    confidence: float = 0.1\n    again: float = 2.0\n",
            ),
            (
                "        weights = asdict(self.weights)\n        unpaired",
                '        per_residue["again"] = per_residue["pairs"]\n'
                "        weights = asdict(self.weights)\n        unpaired",
            ),
        ],
        "tests/model/test_losses.py": [
            ('    "confidence",\n]', '    "confidence", "again",\n]'),
        ],
    },
    pages={
        "docs/model.md": [
            ("\n| `confidence` |", "\n| `again` | distances again | 2 |\n| `confidence` |")
        ]
    },
    program="""
from tests.model import test_losses
test_losses.test_a_perfect_prediction_costs_nothing("packing")
test_losses.test_the_documented_weights_are_the_defaults()
""",
)

ATTENTION = Recipe(
    "### An attention",
    edits={
        "model/attention/NAME.py": (
            "from model.attention.gaussian_attention import GaussianAttention\n\n\n"
            "class Third(GaussianAttention):\n    pass\n"
        ),
        "model/attention/__init__.py": [
            ('Literal["iga", "ipa"]', 'Literal["iga", "ipa", "third"]'),
            (
                '    "ipa": _points_for_gaussians,\n',
                '    "ipa": _points_for_gaussians,\n    "third": Third,\n',
            ),
            (
                "from model.attention.maps import AttentionMaps\n",
                "from model.attention.maps import AttentionMaps\n"
                "from model.attention.NAME import Third\n",
            ),
        ],
    },
    pages={
        "docs/attention.md": [
            ('\n| `"ipa"` |', '\n| `"third"` | the first by another name |\n| `"ipa"` |')
        ]
    },
    program="""
from model.attention import build_attention
from model.network import NetworkConfig
assert type(build_attention(NetworkConfig(attention="third").attention, c_s=8, c_z=0, n_heads=1,
    c_hidden=4, n_gaussians=1, n_points=1)).__name__ == "Third"
from tests.model.attention import test_attention
test_attention.test_each_kind_has_a_name_that_types_know()
test_attention.test_all_kinds_have_the_same_number_of_parameters(4)
""",
)

TASK = Recipe(
    "### A task",
    edits={
        "model/flow/tasks.py": [
            ('"inpainting", "unconditional"]', '"inpainting", "unconditional", "again"]'),
            (
                "    unconditional: float = 1.0\n",
                "    unconditional: float = 1.0\n    again: float = 0.0\n",
            ),
            (
                '    "unconditional": hold_nothing,\n',
                '    "unconditional": hold_nothing,\n    "again": hold_packing,\n',
            ),
        ],
        "model/tasks/NAME.py": (
            "from dataclasses import replace\n\nfrom model.tasks.packing import PACKING\n"
            "from model.tasks.problem import held_out_problem\n\n\n"
            "AGAIN = replace(\n"
            '    PACKING, name="again", options=(), title="Packed again on {}".format,\n'
            '    held_out=lambda i, s: held_out_problem("again", i, frames=True, sequence=True),\n'
            "    problem=lambda *given: replace(PACKING.problem(*given), task='again'),\n)\n"
        ),
        "model/tasks/__init__.py": [
            (
                "from model.tasks.packing import PACKING\n",
                "from model.tasks.NAME import AGAIN\nfrom model.tasks.packing import PACKING\n",
            ),
            ("INPAINTING, UNCONDITIONAL)", "INPAINTING, UNCONDITIONAL, AGAIN)"),
        ],
    },
    pages={
        "docs/model.md": [
            (
                "\n| unconditional | nothing |",
                "\n| again | frames | atoms |\n| unconditional | nothing |",
            )
        ],
        "docs/sampling.md": [
            (
                "\n| `unconditional` | numbers",
                "\n| `again` | a backbone | atoms |\n| `unconditional` | numbers",
            )
        ],
        "docs/evaluating.md": [
            (
                "\n| `unconditional` | the",
                "\n| `again` | backbone | RMSD |\n| `unconditional` | the",
            )
        ],
    },
    program="""
from tests.model import test_tasks
test_tasks.test_every_task_of_the_flow_has_a_record_under_its_name()
test_tasks.test_an_option_of_a_task_is_a_field_of_a_request_and_of_no_other_task()
from pathlib import Path
from model.sample.command import main
arguments = ["--task", "again", "--input", "data_manifest/examples/1ubi.pdb.zst", "--steps", "2"]
assert main([*arguments, "--out-dir", "made"]) == 0
assert "Packed again on 1ubi" in Path("made/1ubi_1.cif").read_text()
""",
)

RECIPES = [COLUMN, RESIDUES, FILTER, FORMAT, LOSS, ATTENTION, TASK]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a recipe may change, and what that reads."""
    skipped = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("pipeline", "model", "tests", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skipped)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / EXAMPLES.parent.name).symlink_to(EXAMPLES.parent)
    return tmp_path


def follow(recipe: Recipe, folder: Path, without: str = "") -> None:
    for name, edits in {**recipe.edits, **recipe.pages}.items():
        path = folder / name
        if name == without:
            continue
        if isinstance(edits, str):
            path.write_text(edits, encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        for old, new in edits:
            assert text.count(old) == 1, f"{name}: not there once: {old!r}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def complaint(recipe: Recipe, folder: Path) -> str:
    """What fails in a copy in which a recipe was followed; nothing if all is well."""
    done = subprocess.run(
        [sys.executable, "-c", recipe.program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout + done.stderr if done.returncode else ""


def told(heading: str) -> tuple[list[str], list[str]]:
    """(files of the table, pages) of a section of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2].partition("\n#")[0]
    pages = text.partition("\nTell it in ")[2].partition(".\n")[0]
    return re.findall(r"(?m)^\| `([^`]+)` \|", text), re.findall(r"`([^`]+)`", pages)


def name_of(recipe: Recipe) -> str:
    return recipe.heading.removeprefix("### ")


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_what_is_added_as_a_recipe_says_works(recipe: Recipe, copy: Path) -> None:
    files, pages = told(recipe.heading)
    assert sorted(files) == sorted(recipe.edits)
    assert sorted(pages) == sorted(recipe.pages)
    follow(recipe, copy)
    assert complaint(recipe, copy) == ""


def test_every_recipe_is_tried() -> None:
    recipes = PAGE.read_text(encoding="utf-8").partition("\n## Recipes\n")[2].partition("\n## ")[0]
    headings = set(re.findall(r"(?m)^### .*$", recipes))
    assert headings == {recipe.heading for recipe in RECIPES}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "file"),
    [
        pytest.param(recipe, file, id=f"{name_of(recipe)}: {file}")
        for recipe in RECIPES
        for file in recipe.edits
    ],
)
def test_no_file_of_a_recipe_can_be_left_out(recipe: Recipe, file: str, copy: Path) -> None:
    follow(recipe, copy, without=file)
    assert complaint(recipe, copy) != ""
