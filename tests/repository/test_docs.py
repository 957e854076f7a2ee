"""The documentation is true: its queries run, its tables are complete, its links lead somewhere.

``UPDATE_DOCS=1 pytest tests/repository/test_docs.py`` renews the output that README.md shows.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.build.options import BuildOptions
from pipeline.built.plan import PLAN_SCHEMA
from pipeline.built.reading import Reading
from pipeline.built.records import DropRecord, InputRecord, records_table
from pipeline.filters import Filters
from pipeline.interfaces import INTERFACES_SCHEMA
from pipeline.residues import ATOM14_NAMES, ONE_LETTER, RESTYPES
from pipeline.shards import SCHEMA_VERSION, shard_schema
from tests.support.places import EXAMPLES, ROOT

README = ROOT / "README.md"
FORMAT = ROOT / "docs" / "format.md"
BUILDING = ROOT / "docs" / "building.md"
READING = ROOT / "docs" / "reading.md"
MODEL = ROOT / "docs" / "model.md"
OPTIONS = ROOT / "docs" / "options.md"
DEVELOPMENT = ROOT / "docs" / "development.md"
RUN_PAGES = (README, BUILDING, FORMAT, READING, MODEL)
PAGES = sorted(
    path
    for folder in (".", "docs", "data_manifest", "benchmarks")
    for path in (ROOT / folder).glob("*.md")
)
RUNNABLE = re.compile(r"(?ms)^<!-- runs -->\n```(python|sql|sh)\n(.*?)^```$")
PRINTED = re.compile(r"(?ms)^<!-- output: build -->\n```text\n(.*?)^```$")
CODE = re.compile(r"(?ms)^```.*?^```$")
EXAMPLE_CHAIN = "1bd2_1_D"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder that holds ``out/examples``, what the command of the README printed)."""
    folder = tmp_path_factory.mktemp("docs")
    link = folder / "data_manifest"
    link.symlink_to(EXAMPLES.parent)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.build", "--n-jobs", "1"),
            *("--pdb-dir", "data_manifest/examples", "--out-dir", "out/examples"),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture
def example_row(built: tuple[Path, str]) -> dict[str, object]:
    table = pq.read_table(built[0] / "out/examples/shards/part-00000.parquet")
    return next(r for r in table.to_pylist() if r["chain_uid"] == EXAMPLE_CHAIN)


def _blocks() -> list[object]:
    found = []
    for page in RUN_PAGES:
        text = page.read_text(encoding="utf-8")
        for match in RUNNABLE.finditer(text):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], match[2], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize(("language", "code"), _blocks())
def test_every_block_that_is_marked_runnable_runs(
    language: str, code: str, built: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built[0])
    if language == "sql":
        assert duckdb.connect().execute(code).fetchall(), "the query finds nothing"
    elif language == "sh":
        script = built[0] / "bin" / "ellipsoid-flow"  # as pip makes it
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!{sys.executable}\nfrom ellipsoid_flow.command import main\nmain()\n")
        script.chmod(0o755)
        programs = (script.parent, Path(sys.executable).parent, os.environ["PATH"])
        path = os.pathsep.join(map(str, programs))
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        subprocess.run(["bash", "-euo", "pipefail", "-c", code], env=environment, check=True)
    else:
        exec(compile(code, "<documentation>", "exec"), {"__name__": "documentation"})


def test_all_python_and_sql_blocks_are_marked_runnable() -> None:
    for page in RUN_PAGES:
        text = page.read_text(encoding="utf-8")
        n_blocks = len(re.findall(r"^```(?:python|sql)$", text, re.MULTILINE))
        marked = [language for language, _ in RUNNABLE.findall(text) if language != "sh"]
        assert n_blocks == len(marked) > 0, page.name


def test_the_readme_shows_what_the_build_prints(built: tuple[Path, str]) -> None:
    text = README.read_text(encoding="utf-8")
    match = PRINTED.search(text)
    assert match
    # On a machine that is slow just now, the build tells of its progress.
    lines = [x for x in built[1].splitlines() if not re.match(r"\d+/\d+ files, ", x)]
    printed = "".join(line.rstrip() + "\n" for line in lines)
    if os.environ.get("UPDATE_DOCS"):
        README.write_text(text[: match.start(1)] + printed + text[match.end(1) :], encoding="utf-8")
        return
    # How long it took, and how well this version of zstd packs, may differ.
    loose = re.compile(r"^(time|size) .*", re.MULTILINE)
    assert loose.sub(r"\1", match[1]) == loose.sub(r"\1", printed), (
        "run UPDATE_DOCS=1 pytest tests/repository/test_docs.py"
    )


# ---- tables -----------------------------------------------------------------------------------


def _section(page: Path, heading: str) -> str:
    """From a heading up to the next one of its level or above."""
    text = page.read_text(encoding="utf-8")
    level = len(heading.split(" ")[0])
    start = text.index(f"\n{heading}\n") + 1
    following = re.compile(rf"(?m)^#{{1,{level}}} ").search(text, start + len(heading))
    return text[start : following.start() if following else len(text)]


def _rows(text: str) -> list[list[str]]:
    """Cells of all table rows; a bar in a cell would be written ``\\|``."""
    rows = []
    for line in CODE.sub("", text).splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            rows.append(cells)
    return rows


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"{_type_name(kind.value_type)}[{kind.list_size}]"
    if pa.types.is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    if pa.types.is_fixed_size_binary(kind):
        return f"binary[{kind.byte_width}]"
    if pa.types.is_dictionary(kind):
        return f"dictionary<{_type_name(kind.value_type)}>"
    return {"float": "float32"}.get(str(kind), str(kind))


def _documented(text: str) -> dict[str, list[str]]:
    """Rows whose first cell is one name in backticks: name → further cells."""
    return {
        cells[0][1:-1]: cells[1:]
        for cells in _rows(text)
        if re.fullmatch(r"`[a-z0-9_]+`", cells[0])
    }


def _types(documented: dict[str, list[str]]) -> dict[str, str]:
    return {name: cells[0].replace("\\", "") for name, cells in documented.items()}


def test_the_documented_columns_of_a_shard_are_those_of_the_schema() -> None:
    documented = _documented(_section(FORMAT, "## Shards"))
    schema = shard_schema()
    assert _types(documented) == {f.name: _type_name(f.type) for f in schema}
    assert list(documented) == schema.names
    never = {name for name, cells in documented.items() if cells[1] == "never"}
    assert never == {f.name for f in schema if not f.nullable}


def test_the_example_values_of_the_scalar_columns_are_real(
    example_row: dict[str, object],
) -> None:
    shown = {
        name: cells[3].strip("`")
        for name, cells in _documented(_section(FORMAT, "## Shards")).items()
        if cells[3] and not cells[0].startswith("list")
    }
    assert len(shown) > 30
    for name, text in shown.items():
        value = example_row[name]
        if isinstance(value, float):
            value = f"{value:.6g}"
        assert text == ("null" if value is None else str(value)), name


def test_the_documented_columns_of_the_index_are_those_it_has(built: tuple[Path, str]) -> None:
    documented = _types(_documented(_section(FORMAT, "## `index.parquet`")))
    found = pq.read_schema(built[0] / "out/examples/index.parquet")
    repeated = [f for f in shard_schema() if not pa.types.is_list(f.type)]
    long = ("sequence", "entity_sequence", "three_di")
    expected = [f.name for f in repeated if f.name not in long]
    assert found.names == [*expected, *documented]
    assert documented == {name: _type_name(found.field(name).type) for name in documented}


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("## `inputs.parquet`", records_table(InputRecord, []).schema),
        ("## `drops.parquet`", records_table(DropRecord, []).schema),
        ("## `interfaces.parquet`", INTERFACES_SCHEMA),
        ("## `plan.parquet`", PLAN_SCHEMA),
    ],
)
def test_the_documented_columns_of_a_table_are_those_it_has(
    heading: str, schema: pa.Schema
) -> None:
    documented = _types(_documented(_section(FORMAT, heading)))
    assert list(documented.items()) == [(f.name, _type_name(f.type)) for f in schema]


@pytest.mark.parametrize("page", [README, FORMAT], ids=lambda p: p.name)
def test_the_folder_shown_is_what_a_build_leaves(page: Path, built: tuple[Path, str]) -> None:
    tree = (
        page.read_text(encoding="utf-8").partition("\n    out/examples/\n")[2].partition("\n\n")[0]
    )
    shown = {line.split()[0].partition("/")[0] for line in tree.splitlines()}
    found = {path.name for path in (built[0] / "out/examples").iterdir()}
    # The documentation's own commands, which run in the same folder, leave these.
    later = {"splits.parquet", "embeddings", ".cache", "report-chains.html"}
    assert shown - later | {".build"} == found - later


def test_the_documented_keys_of_build_json_are_those_it_has(built: tuple[Path, str]) -> None:
    documented = _documented(_section(FORMAT, "## `build.json`"))
    found = json.loads((built[0] / "out/examples/build.json").read_text(encoding="utf-8"))
    assert documented.keys() == found.keys()
    assert _names(documented["counts"][0]) == list(found["counts"])


def test_the_documented_metadata_of_a_shard_are_those_it_has(built: tuple[Path, str]) -> None:
    documented = _documented(_section(FORMAT, "## Metadata and checksums"))
    file = pq.ParquetFile(built[0] / "out/examples/shards/part-00000.parquet")
    found = {key.decode() for key in file.schema_arrow.metadata}
    assert documented.keys() == found
    assert _names(documented["schema_version"][0]) == [str(SCHEMA_VERSION)]


def test_the_documented_slots_are_those_of_atom14() -> None:
    rows = _rows(_section(FORMAT, "## Atoms"))[1:]
    expected = [
        [str(k), letter, name, *atoms]
        for k, (letter, name, atoms) in enumerate(
            zip(ONE_LETTER, (*RESTYPES, "unknown"), ATOM14_NAMES, strict=True)
        )
    ]
    # Trailing empty cells are lost with the bars around them.
    assert [[*r, *[""] * (17 - len(r))] for r in rows] == expected


# ---- options ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def help_options() -> set[str]:
    """What the help lists at the beginning of a line."""
    text = subprocess.run(
        [sys.executable, "-m", "pipeline.build", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    return set(re.findall(r"^  (?:-h, )?(--[a-z][a-z_-]*)", text, re.MULTILINE))


def test_the_option_tables_list_the_options_of_the_help(help_options: set[str]) -> None:
    rows = _rows(OPTIONS.read_text(encoding="utf-8"))
    documented = [cells[0].strip("`") for cells in rows if cells[0].startswith("`--")]
    assert sorted(documented) == sorted(help_options)
    assert len(help_options) > 30


def test_the_option_tables_give_the_defaults() -> None:
    rows = _rows(OPTIONS.read_text(encoding="utf-8"))
    documented = {cells[0].strip("`")[2:].replace("-", "_"): cells[1] for cells in rows}
    for group in (BuildOptions, Reading, Filters):
        for field in dataclasses.fields(group):
            if field.metadata.get("flatten") or not field.metadata.get("option", True):
                continue
            default = field.default
            if "unit" in field.metadata:
                default //= field.metadata["unit"]
            if default is dataclasses.MISSING:
                expected = "required"
            elif default is None:
                expected = ""
            else:
                expected = f"`{str(default).lower() if isinstance(default, bool) else default}`"
            assert documented[field.name] == expected, field.name


def test_commands_in_the_pages_use_options_that_exist(help_options: set[str]) -> None:
    n_found = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        door = r"(?:python -m pipeline\.|ellipsoid-flow )build "
        for line in re.findall(rf"{door}(.*)", text):
            command = re.split(r"`| #", line)[0]
            used = set(re.findall(r"(?<!\S)--[a-z][a-z_-]*", command))
            assert used <= help_options, (page.name, used - help_options)
            n_found += len(used)
    assert n_found > 20


# ---- links ------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    """Anchors of headings, as GitHub makes them."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_to_something(page: Path) -> None:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(linked), f"{page.name} links to {target}"


def test_every_word_of_the_glossary_is_in_the_file_it_names() -> None:
    rows = _rows(_section(DEVELOPMENT, "## Words for images"))[1:]
    assert len(rows) > 10
    for word, _, where in rows:
        text = (ROOT / where.strip("`")).read_text(encoding="utf-8").lower()
        stem = word.partition(" (")[0].removesuffix("y")
        assert stem in text, f"{word}: {where}"


def test_the_places_that_a_fourth_modality_touches_are_those_that_name_the_three() -> None:
    rows = _rows(_section(ROOT / "docs" / "model.md", "### A fourth modality"))[1:]
    listed = set()
    for places, _ in rows:
        paths = re.findall(r"`([^`]+\.py)`", places)
        # A name without a folder is of a file beside the first one.
        listed |= {str(Path(paths[0]).parent / name) if "/" not in name else name for name in paths}
    assert all((ROOT / name).is_file() for name in listed)
    named = re.compile(r"\b(?:held|times)[._](?:frames|atoms|sequence)\b")
    for path in (ROOT / "model").rglob("*.py"):
        if named.search(path.read_text(encoding="utf-8")):
            assert str(path.relative_to(ROOT)) in listed, f"{path.name} names a modality"


@pytest.mark.parametrize("heading", ["## The way of a file", "## The way of a batch"])
def test_every_step_of_a_way_is_in_the_files_it_names(heading: str) -> None:
    rows = _rows(_section(DEVELOPMENT, heading))[1:]
    assert len(rows) > 8
    for step, where, result in rows:
        text = "".join((ROOT / name).read_text(encoding="utf-8") for name in _names(where))
        for name in _names(result):
            assert name in text or (ROOT / name).is_file(), f"{step}: {name}"


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
