"use strict";
const get = id => document.getElementById(id);
const {types: TYPES, scenes: SCENES} = JSON.parse(get("data").textContent);
const SCENE = get("scene");
let data = SCENES[0], selected = null;

// Rows of so many numbers, each a step from the one of the row before if it is told as a step.
function rows(numbers, width, unit, areSteps) {
  const found = [], sum = new Array(width).fill(0);
  for (let k = 0; k < numbers.length; k += width)
    found.push(sum.map((v, c) => (sum[c] = (areSteps ? v : 0) + numbers[k + c]) / unit));
  return found;
}
// Columns → the residues of a scene, and the mmCIF of its atoms, which is what the viewer reads.
function unpacked(scene) {
  const numbers = rows(scene.numbers, 1, 1, true), b = rows(scene.b, 1, 10);
  const atoms = rows(scene.atoms, 3, 100, true), centres = rows(scene.centres, 3, 1e4, true);
  const covariances = rows(scene.covariances, 6, 1e4), axes = rows(scene.axes, 3, 100);
  const unresolved = new Set(scene.unresolved), lines = [];
  const chains = scene.n_residues.flatMap((n, chain) => new Array(n).fill(chain));
  let atom = 0, ellipsoid = 0;
  const residues = chains.map((chain, row) => {
    const [name, ...names] = TYPES[scene.types[row]], code = scene.codes[row] || "";
    const [number] = numbers[row], mask = scene.masks[row];
    names.forEach((atomName, slot) => {
      if (mask !== undefined && !(mask >> slot & 1)) return;
      lines.push(`ATOM ${atom + 1} ${atomName[0]} ${atomName} ${name} ${chain} ${number} ` +
                 `${code || "?"} ${atoms[atom].join(" ")}`);
      atom++;
    });
    const residue = {row, chain, name, number, code, sse: Number(scene.sse[row]), b: b[row][0]};
    if (!unresolved.has(row)) {
      residue.centre = centres[ellipsoid];
      residue.covariance = covariances[ellipsoid];
      residue.axes = axes[ellipsoid++];
    }
    return residue;
  });
  const items = ["group_PDB", "id", "type_symbol", "auth_atom_id", "auth_comp_id", "auth_asym_id",
                 "auth_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y", "Cartn_z"];
  const head = items.map(item => `_atom_site.${item}`);
  return {...scene, residues, structure: ["data_scene", "loop_", ...head, ...lines, "#"].join("\n")};
}

// Palettes that the colour-blind can tell apart (Okabe and Ito 2008; Crameri's batlow for numbers).
const KINDS = {
  "hydrophobic": ["#b8860b", "ALA VAL LEU ILE MET"],
  "aromatic": ["#cc79a7", "PHE TYR TRP"],
  "polar": ["#009e73", "SER THR ASN GLN CYS"],
  "positive": ["#0072b2", "LYS ARG HIS"],
  "negative": ["#d55e00", "ASP GLU"],
  "Gly, Pro": ["#8a94a0", "GLY PRO"],
  "unknown": ["#785ef0", "UNK"],
};
const SSE = [["coil", "#8a94a0"], ["helix", "#d55e00"], ["strand", "#0072b2"]];
const CHAINS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a94a0"];
const RAMP = [[1, 25, 89], [16, 75, 97], [80, 124, 71], [168, 142, 46], [241, 166, 120],
              [253, 202, 229]];
const kindOf = {};
for (const [name, [colour, members]] of Object.entries(KINDS))
  for (const member of members.split(" ")) kindOf[member] = colour;

const hex = rgb => "#" + rgb.map(v => Math.round(v).toString(16).padStart(2, "0")).join("");
function ramp(t) {
  const at = Math.min(Math.max(t, 0), 1) * (RAMP.length - 1), k = Math.min(Math.floor(at), RAMP.length - 2);
  return hex(RAMP[k].map((v, c) => v + (RAMP[k + 1][c] - v) * (at - k)));
}
function colourOf(residue) {
  const [low, high] = data.b_range;
  switch (get("colour").value) {
    case "kind": return kindOf[residue.name];
    case "sse": return SSE[residue.sse][1];
    case "chain": return CHAINS[residue.chain % CHAINS.length];
    default: return ramp((residue.b - low) / Math.max(high - low, 1e-6));
  }
}
function legend() {
  const choice = get("colour").value, [low, high] = data.b_range;
  const rows = choice === "kind" ? Object.entries(KINDS).map(([name, [colour]]) => [name, colour])
    : choice === "sse" ? SSE
    : choice === "chain" ? data.chains.map((name, k) => [name, CHAINS[k % CHAINS.length]])
    : [0, .25, .5, .75, 1].map(t => [(low + t * (high - low)).toFixed(0), ramp(t)]);
  get("legend").replaceChildren(...rows.slice(0, 12).map(([name, colour]) => {
    const item = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = colour;
    item.append(dot, name);
    return item;
  }));
}

// A sphere of triangles: an icosahedron whose faces are cut in four, twice.
function sphere() {
  const g = (1 + Math.sqrt(5)) / 2;
  let points = [[-1, g, 0], [1, g, 0], [-1, -g, 0], [1, -g, 0], [0, -1, g], [0, 1, g], [0, -1, -g],
                [0, 1, -g], [g, 0, -1], [g, 0, 1], [-g, 0, -1], [-g, 0, 1]];
  let faces = [[0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4],
               [11, 10, 2], [10, 7, 6], [7, 1, 8], [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8],
               [3, 8, 9], [4, 9, 5], [2, 4, 11], [6, 2, 10], [8, 6, 7], [9, 8, 1]];
  const unit = p => { const n = Math.hypot(...p); return p.map(v => v / n); };
  points = points.map(unit);
  for (let times = data.residues.length > 2000 ? 1 : 2; times > 0; times--) {
    const middles = new Map();
    const middle = (a, b) => {
      const key = a < b ? a + "," + b : b + "," + a;
      if (!middles.has(key)) {
        middles.set(key, points.length);
        points.push(unit(points[a].map((v, c) => v + points[b][c])));
      }
      return middles.get(key);
    };
    faces = faces.flatMap(([a, b, c]) => {
      const ab = middle(a, b), bc = middle(b, c), ca = middle(c, a);
      return [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]];
    });
  }
  return {points, faces};
}

// Σ = L Lᵀ (Cholesky): L carries the unit sphere to the ellipsoid of one standard deviation,
// and the inverse of Lᵀ its normals.
function cholesky([xx, xy, xz, yy, yz, zz]) {
  const a = Math.sqrt(xx), b = xy / a, c = xz / a;
  const d = Math.sqrt(yy - b * b), e = (yz - b * c) / d;
  return [a, b, c, d, e, Math.sqrt(zz - c * c - e * e)];
}
function mesh(residues, size, paint = colourOf) {
  const SPHERE = sphere();
  const vertexArr = [], normalArr = [], faceArr = [], color = [];
  for (const residue of residues) {
    if (!residue.centre) continue;
    const [a, b, c, d, e, f] = cholesky(residue.covariance), first = vertexArr.length;
    const [x, y, z] = residue.centre, colour = $3Dmol.CC.color(paint(residue));
    for (const [u, v, w] of SPHERE.points) {
      vertexArr.push({x: x + size * a * u, y: y + size * (b * u + d * v),
                      z: z + size * (c * u + e * v + f * w)});
      const nz = w / f, ny = (v - e * nz) / d, nx = (u - b * ny - c * nz) / a;
      const n = Math.hypot(nx, ny, nz);
      normalArr.push({x: nx / n, y: ny / n, z: nz / n});
      color.push(colour);
    }
    for (const face of SPHERE.faces) for (const k of face) faceArr.push(first + k);
  }
  return {vertexArr, normalArr, faceArr, color};
}

// Of the page's colours; the canvas does not know style sheets.
const paper = () => getComputedStyle(document.body).getPropertyValue("--paper").trim();

function said(residue) {
  const chain = data.chains[residue.chain];
  const parts = [`${residue.name} ${chain} ${residue.number}${residue.code}`, SSE[residue.sse][0]];
  parts.push(`${data.b_name} ${residue.b.toFixed(1)}${data.b_unit}`);
  parts.push(residue.axes ? `semi-axes ${residue.axes.map(a => a.toFixed(2)).join(" × ")} Å (1 σ)`
                          : "no ellipsoid: N, CA or C is missing");
  return parts.join(" · ");
}
function tell(residue) {
  const shown = residue || selected;
  get("told").textContent = shown ? said(shown) : "Point at a residue, or click it to keep it.";
}

function start() {
  const viewer = $3Dmol.createViewer(SCENE, {backgroundColor: paper(), antialias: true});
  viewer.enableFog(false); // which would fade into the paper what lies behind
  let model, targets;
  const load = () => {
    selected = null;
    viewer.removeAllModels();
    get("title").textContent = data.title;
    get("subtitle").textContent = data.subtitle;
    document.title = data.title;
    for (const option of get("colour").options)
      if (option.value === "b") option.textContent = data.b_name;
    const chains = data.chains.map((name, k) => new Option(`chain ${name}`, String(k)));
    get("at").replaceChildren(new Option("all chains", ""), ...chains);
    get("at").parentNode.hidden = data.chains.length < 2;
    model = viewer.addModel(data.structure, "cif", {noComputeSecondaryStructure: true});
    const byPlace = new Map();
    const place = (chain, number, code) => chain + "|" + number + "|" + (code || "").trim();
    for (const residue of data.residues)
      byPlace.set(place(residue.chain, residue.number, residue.code), residue);
    const known = data.residues;
    for (const atom of model.selectedAtoms({})) {
      const residue = byPlace.get(place(atom.chain, atom.resi, atom.icode));
      if (!residue) continue;
      const k = residue.row, same = j => known[j] && known[j].chain === residue.chain
        && known[j].sse === residue.sse;
      atom.ss = "csh".charAt([0, 2, 1][residue.sse]);
      atom.ssbegin = !same(k - 1);
      atom.ssend = !same(k + 1);
      atom.residue = residue;
    }
    // A ball in the place of each ellipsoid, not drawn: what the pointer meets.
    targets = viewer.addModel();
    targets.addAtoms(known.filter(r => r.centre).map(residue => {
      const [x, y, z] = residue.centre;
      return {elem: "X", atom: "DUM", x, y, z, residue, chain: "", bonds: [], bondOrder: []};
    }));
    for (const one of [model, targets]) {
      one.setHoverable({}, true, atom => tell(atom.residue), () => tell(null));
      one.setClickable({}, true, atom => {
        selected = atom.residue === selected ? null : atom.residue;
        draw();
      });
    }
  };
  const draw = () => {
    viewer.removeAllShapes();
    const style = {}, size = Number(get("size").value);
    const colorfunc = atom => atom.residue ? colourOf(atom.residue) : "#8a94a0";
    if (get("cartoon").checked) style.cartoon = {colorfunc, thickness: 0.3};
    if (get("sticks").checked) style.stick = {colorfunc, radius: 0.12};
    model.setStyle({}, style);
    targets.setStyle({}, {clicksphere: {radius: Math.max(1, size) * 1.4}});
    if (get("ellipsoids").checked)
      viewer.addCustom({...mesh(data.residues, size), opacity: Number(get("opacity").value)});
    if (selected && selected.centre)
      viewer.addCustom({...mesh([selected], 1.15 * size, () => "#ffd400"), opacity: 0.6});
    legend();
    tell(null);
    viewer.render();
  };
  // 3Dmol leaves room for any turn of the atoms' ball; here what is seen fills the window.
  const look = () => {
    const at = get("at").value;
    viewer.resize(); // the lines above the canvas may have grown
    viewer.zoomTo(at === "" ? {} : {chain: at});
    const shown = data.residues.filter(r => r.centre && (at === "" || r.chain === Number(at)));
    const centres = shown.map(({centre: [x, y, z]}) => ({x, y, z}));
    const box = SCENE.getBoundingClientRect();
    const across = [box.left + scrollX + box.width / 2, box.width / 2 - 30];
    const down = [box.top + scrollY + box.height / 2, box.height / 2 - 30];
    for (let times = 0; times < 3; times++) { // for what is nearer grows more
      viewer.render();
      let used = 0.05;
      for (const p of viewer.modelToScreen(centres))
        used = Math.max(used, Math.abs(p.x - across[0]) / across[1],
                        Math.abs(p.y - down[0]) / down[1]);
      viewer.zoom(Math.min(Math.max(0.95 / used, 0.5), 8));
    }
    viewer.render();
  };
  const show = () => {
    load();
    draw();
    look();
  };
  const named = () => {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* no name of a chain, then */ }
    const found = SCENES.findIndex(scene => scene.name === name);
    if (found >= 0) get("which").value = String(found);
    data = unpacked(SCENES[Number(get("which").value)]);
    show();
  };
  get("which").replaceChildren(...SCENES.map((s, k) => new Option(s.name, String(k))));
  get("which").parentNode.hidden = SCENES.length < 2;
  get("which").addEventListener("change", () => {
    location.hash = encodeURIComponent(SCENES[Number(get("which").value)].name);
  });
  addEventListener("hashchange", named);
  get("at").addEventListener("change", look);
  for (const control of document.querySelectorAll("#controls .drawn"))
    control.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    viewer.setBackgroundColor(paper());
    viewer.render();
  });
  named();
  document.body.dataset.state = "drawn";
}

function explain(text) {
  const told = document.createElement("p");
  told.id = "missing";
  told.textContent = text;
  SCENE.replaceChildren(told);
  document.body.dataset.state = "failed";
}
if (typeof $3Dmol === "undefined")
  explain("The viewer (3Dmol.js) that was put into this page does not run in this browser. " +
          "Another version can be given with --viewer-script.");
else try { start(); } catch (error) {
  explain("This browser cannot draw the structure (" + error.message + "). It needs WebGL.");
}
