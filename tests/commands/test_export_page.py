"""The web page of an entry: whole, safe, and drawn as the covariances say, in a real browser."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import gemmi
import numpy as np
import pytest

import pipeline.export.web_page
from pipeline.build.command import main as build
from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.stored_chains import StoredChain, read_entries
from pipeline.export.atoms import RESIDUE_NAMES
from pipeline.export.command import main
from pipeline.export.errors import ExportError
from pipeline.export.mmcif import mmcif_text
from pipeline.export.web_page import VIEWER, VIEWER_SHA256, bundled_viewer, web_page
from pipeline.where import parse_where
from tests.support.odd_inputs import ENTRIES, copies, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

RECORDING_VIEWER = """
// Stands for 3Dmol: notes what it is asked to draw.
const drawn = {styles: [], meshes: [], atoms: [], zoomed: [], zooms: [], clicks: []};
let clicks;
const $3Dmol = {
  CC: {color: name => name},
  createViewer: () => ({
    enableFog() {},
    removeAllModels() { drawn.styles = []; },
    modelToScreen: points => points.map(({x, y}) => ({x: 400 + x, y: 300 + y})),
    addModel(text, kind) {
      if (text === undefined) return {
        addAtoms(atoms) { drawn.targets = atoms.length; this.atoms = atoms; },
        setHoverable: () => {},
        setClickable(_, __, callback) { clicks = at => callback(this.atoms[at]); },
        setStyle(_, style) { drawn.target_style = style; },
      };
      drawn.text = text;
      const tags = [], rows = [];
      for (const line of text.split("\\n")) {
        if (line.startsWith("_atom_site.")) tags.push(line.slice(11));
        if (line.startsWith("ATOM")) rows.push(line.trim().split(/ +/));
      }
      const at = tag => tags.indexOf(tag);
      const atoms = rows.map(r => ({chain: r[at("auth_asym_id")], resi: +r[at("auth_seq_id")],
        icode: r[at("pdbx_PDB_ins_code")].replace("?", "")}));
      return {
        selectedAtoms: () => atoms,
        setHoverable: () => {},
        setClickable: () => {},
        setStyle(_, style) {
          drawn.styles.push(Object.keys(style));
          drawn.ss = atoms.map(a => a.ss).join("");
        },
      };
    },
    removeAllShapes() { drawn.meshes = []; },
    addCustom(spec) { drawn.meshes.push(spec); },
    zoomTo(what) { drawn.zoomed.push(what); },
    zoom(by) { drawn.zooms.push(by); },
    setBackgroundColor() {},
    resize() {},
    render() {
      clearTimeout(drawn.timer);
      drawn.timer = setTimeout(note, 0);
    },
  }),
};
function note() {
  const few = mesh => ({...mesh, color: [...new Set(mesh.color)]});
  const kept = {...drawn, meshes: drawn.meshes.map(few)};
  const note = document.createElement("pre");
  note.id = "drawn";
  note.textContent = JSON.stringify(kept);
  document.body.append(note);
}
"""


@pytest.fixture(scope="session")
def entry(examples_dataset: Path) -> list[StoredChain]:
    dataset = BuiltDataset.open(examples_dataset)
    index = dataset.index()
    rows = index.filter(parse_where("chain_uid = '1bd2_1_D'", index.schema))
    return next(read_entries(dataset, rows))


def bundled() -> str:
    """The viewer as it stands in a page."""
    return bundled_viewer().replace("</script", "<\\/script")


def drawn_by(page: Path, folder: Path, at: str = "") -> tuple[dict, str]:
    """What the recorder noted, and the document."""
    dom = dom_of(page, folder, at)
    assert 'data-state="drawn"' in dom
    *_, note = re.findall(r'<pre id="drawn">(.*?)</pre>', dom, re.DOTALL)
    return json.loads(html.unescape(note)), dom


def dom_of(page: Path, folder: Path, at: str = "") -> str:
    """The document after its scripts have run."""
    done = subprocess.run(
        [*browser(folder), "--dump-dom", page.as_uri() + at],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def browser(folder: Path) -> list[str]:
    flags = "--headless --no-sandbox --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update"
    flags += " --enable-unsafe-swiftshader --window-size=1000,700 --virtual-time-budget=1000"
    return [str(CHROMIUM), *flags.split(), f"--user-data-dir={folder / 'profile'}"]


@needs_browser
def test_the_page_draws_each_covariance_as_the_surface_of_one_standard_deviation(
    entry: list[StoredChain], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(web_page([entry], RECORDING_VIEWER))
    drawn, _ = drawn_by(page, tmp_path)
    assert drawn["styles"] == [["cartoon"]]
    ((mesh),) = drawn["meshes"]
    (stored,) = entry
    resolved = stored.chain.resolved
    n = int(resolved.sum())
    points = np.array([[v["x"], v["y"], v["z"]] for v in mesh["vertexArr"]]).reshape(n, -1, 3)
    normals = np.array([[v["x"], v["y"], v["z"]] for v in mesh["normalArr"]]).reshape(n, -1, 3)
    xx, xy, xz, yy, yz, zz = stored.covariance[resolved].astype(np.float64).T
    sigma = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=-1).reshape(-1, 3, 3)
    offset = points - stored.centroid[resolved][:, None]
    gradient = np.einsum("nij,nkj->nki", np.linalg.inv(sigma), offset)
    np.testing.assert_allclose((offset * gradient).sum(-1), 1, atol=2e-3)
    gradient /= np.linalg.norm(gradient, axis=-1, keepdims=True)
    assert (gradient * normals).sum(-1).min() > 0.999
    faces = np.array(mesh["faceArr"]).reshape(-1, 3)
    assert faces.max() == points.shape[0] * points.shape[1] - 1
    # Faces turn outwards: the normal of each has the direction of its corners' normals.
    corners = points.reshape(-1, 3)[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((across * normals.reshape(-1, 3)[faces[:, 0]]).sum(-1) > 0).all()
    atoms = np.bitwise_count(stored.chain.atom14_mask)
    expected = np.array(list("chs"))[stored.sse].repeat(atoms)
    assert drawn["ss"] == "".join(expected)


@needs_browser
def test_the_viewer_gets_every_atom_to_a_hundredth_of_an_angstrom(
    examples_dataset: Path, tmp_path: Path
) -> None:
    dataset = BuiltDataset.open(examples_dataset)
    index = dataset.index()
    rows = index.filter(parse_where("entry_id = '1ubi'", index.schema))
    ((whole,),) = read_entries(dataset, rows)
    # Beside it the same chain, in which a residue lacks CB and an ellipsoid, and one has a code.
    mask, code = whole.chain.atom14_mask.copy(), whole.chain.ins_code.copy()
    resolved = whole.chain.resolved.copy()
    mask[2] ^= 0b10000
    code[5], resolved[2] = ord("A"), False
    atom = int(np.bitwise_count(whole.chain.atom14_mask[:2]).sum()) + 4
    odd = replace(
        whole.chain,
        auth_asym_id="it's B",
        atom14_mask=mask,
        ins_code=code,
        resolved=resolved,
        coords=np.delete(whole.chain.coords, atom, axis=0) + np.int32(12_345),
    )
    entry = [whole, replace(whole, chain=odd)]
    page = tmp_path / "page.html"
    page.write_text(web_page([entry], RECORDING_VIEWER))
    drawn, _ = drawn_by(page, tmp_path)
    told, wanted = (
        gemmi.cif.read_string(text).sole_block().find("_atom_site.", [*NAMES, *PLACE])
        for text in (drawn["text"], mmcif_text([whole.chain, odd]))
    )
    assert len(told) == len(wanted)
    order = ["A", "it's B"]
    for row, right in zip(told, wanted, strict=True):
        assert order[int(row[0])] == right.str(0)
        assert list(row)[1 : len(NAMES)] == list(right)[1 : len(NAMES)]
    places = [
        np.array([[float(v) for v in list(row)[len(NAMES) :]] for row in table])
        for table in (told, wanted)
    ]
    assert np.abs(places[0] - places[1]).max() < 0.0051
    ((mesh),) = drawn["meshes"]
    centres = np.concatenate([s.centroid[s.chain.resolved] for s in entry])
    points = np.array([[v["x"], v["y"], v["z"]] for v in mesh["vertexArr"]])
    middles = points.reshape(len(centres), -1, 3).mean(1)
    np.testing.assert_allclose(middles, centres, atol=1e-3)


NAMES = ("auth_asym_id", "auth_seq_id", "pdbx_PDB_ins_code", "auth_comp_id")
NAMES += ("auth_atom_id", "type_symbol")
PLACE = ("Cartn_x", "Cartn_y", "Cartn_z")


@needs_browser
def test_a_residue_that_is_clicked_is_told_with_its_axes_and_b_factor(
    entry: list[StoredChain], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    click = "<script>clicks(3)</script></body>"
    page.write_text(web_page([entry], RECORDING_VIEWER).replace("</body>", click))
    drawn, dom = drawn_by(page, tmp_path)
    ((stored),) = entry
    rows = np.flatnonzero(stored.chain.resolved)
    assert drawn["targets"] == len(rows)
    row = rows[3]
    xx, xy, xz, yy, yz, zz = stored.covariance[row].astype(np.float64)
    sigma = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    axes = " × ".join(f"{a:.2f}" for a in np.sqrt(np.linalg.eigvalsh(sigma))[::-1])
    told = re.search(r'<p id="told" role="status">(.*?)</p>', dom)
    assert told
    number, b_factor = stored.chain.auth_seq_id[row], stored.chain.b_factor[row]
    name = RESIDUE_NAMES[stored.chain.aatype[row]]
    assert told[1].startswith(f"{name} D {number} · ")
    assert f"B-factor {b_factor:.1f} Å² · semi-axes {axes} Å (1 σ)" in told[1]
    everything, chosen = drawn["meshes"]
    assert len(chosen["vertexArr"]) * len(rows) == len(everything["vertexArr"])


@needs_browser
def test_the_page_comes_close_to_what_it_shows_and_opens_the_named_scene(
    examples_dataset: Path, tmp_path: Path
) -> None:
    dataset = BuiltDataset.open(examples_dataset)
    index = dataset.index()
    rows = index.filter(parse_where("entry_id in ('1bd2', '1ubi')", index.schema))
    scenes = [[stored] for entry in read_entries(dataset, rows) for stored in entry]
    page = tmp_path / "page.html"
    page.write_text(web_page(scenes, RECORDING_VIEWER))
    drawn, dom = drawn_by(page, tmp_path, "#1ubi_1_A")
    assert ">1ubi</h1>" in dom
    assert dom.count("<option") >= len(scenes)
    assert drawn["targets"] == 76
    assert drawn["zoomed"] == [{}]
    assert 1 < drawn["zooms"][0] <= 8, "atoms near the middle, as the recorder says they are"


@needs_browser
def test_a_page_whose_viewer_does_not_run_says_so(entry: list[StoredChain], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(web_page([entry], "const $3Dmol = ;"))
    dom = dom_of(page, tmp_path)
    assert 'data-state="failed"' in dom
    assert "--viewer-script" in dom


def test_a_page_needs_nothing_outside_it_and_holds_the_viewer_with_its_licences(
    entry: list[StoredChain],
) -> None:
    text = web_page([entry])
    outside = text.replace(bundled(), "")
    assert re.findall(r"<[^>]*\b(?:src|href)=\"([^\"]*)\"", outside) == ["data:,"]
    assert bundled() in text
    licences = files("pipeline.export").joinpath("viewer", "LICENCES.txt").read_text()
    assert licences in text
    for name in ("3Dmol", "GLmol", "Three.js", "pako", "UPNG", "iobuffer", "netcdfjs", "mol*"):
        assert name in licences
    alone = web_page([entry], RECORDING_VIEWER)
    assert bundled() not in alone
    assert len(text) - len(alone) > 500_000


def test_the_viewer_is_checked_by_its_hash(
    entry: list[StoredChain], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = files("pipeline.export").joinpath("viewer", "3Dmol-min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == VIEWER_SHA256
    monkeypatch.setattr(pipeline.export.web_page, "VIEWER_SHA256", "0" * 64)
    with pytest.raises(ExportError, match="byte for byte; install the package again"):
        web_page([entry])


def test_nothing_in_a_file_can_end_the_script_or_add_markup(entry: list[StoredChain]) -> None:
    (stored,) = entry
    evil = "</script><img src=x onerror=alert(1)>"
    chain = replace(
        stored.chain,
        entry_id=evil,
        auth_asym_id=evil,
        metadata=replace(stored.chain.metadata, title=evil),
    )
    text = web_page([[replace(stored, chain=chain)]], f"/* 3Dmol {evil} */")
    assert "<img" not in re.sub(r"(?s)<script>/\* 3Dmol.*?\*/", "", text)
    assert text.count("</script") == 4
    data = re.search(r'(?s)<script type="application/json" id="data">(.*?)</script>', text)
    assert data
    assert json.loads(data[1])["scenes"][0]["chains"] == [evil]


def test_the_command_writes_a_page_with_the_script_in_it(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "viewer.js"
    script.write_text(RECORDING_VIEWER)
    page = tmp_path / "page.html"
    arguments = [str(examples_dataset), "--entry", "1ubi", "--view", str(page)]
    assert main([*arguments, "--viewer-script", str(script)]) == 0
    assert "Stands for 3Dmol" in page.read_text()
    script.write_text("something else")
    assert main([*arguments, "--viewer-script", str(script), "--overwrite"]) == 2
    assert "is not 3Dmol.js" in capsys.readouterr().err


def test_chains_under_one_id_are_shown_under_ids_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in", "pdb", copies(ENTRIES[0], "AAB"))
    arguments = ["--pdb-dir", str(tmp_path / "in"), "--out-dir", str(tmp_path / "dataset")]
    assert build([*arguments, "--n-jobs", "1", "--quiet"]) == 0
    page = tmp_path / "page.html"
    assert main([str(tmp_path / "dataset"), "--entry", "odd", "--view", str(page)]) == 0
    assert f"note: {page}: chains are written under other ids" in capsys.readouterr().err
    data = re.search(
        r'(?s)<script type="application/json" id="data">(.*?)</script>', page.read_text()
    )
    assert data
    (shown,) = json.loads(data[1])["scenes"]
    assert shown["chains"] == ["A", "A.2", "B"]
    assert shown["n_residues"] == [20, 20, 20]


@pytest.mark.slow
@needs_browser
def test_the_real_viewer_draws_the_page(entry: list[StoredChain], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(web_page([entry]))
    dom = dom_of(page, tmp_path)
    assert 'data-state="drawn"' in dom
    assert "<canvas" in dom


@pytest.mark.slow
def test_the_viewer_is_the_one_that_npm_has(tmp_path: Path) -> None:
    package, _, name = VIEWER.partition("/")
    if shutil.which("npm") is None:
        pytest.skip("no npm to get 3Dmol with")
    packed = subprocess.run(
        ["npm", "pack", package], cwd=tmp_path, capture_output=True, timeout=120
    )
    if packed.returncode:
        pytest.skip("npm cannot get 3Dmol")
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        member = archive.extractfile(f"package/{name}")
        assert member
        assert hashlib.sha256(member.read()).hexdigest() == VIEWER_SHA256
