"""An independent reading of structure files through gemmi: the oracle for ``pipeline.parsing``.

It follows section 3 of DESIGN.md word by word and shares nothing with the parser but the
chemistry tables of ``pipeline.residues``. It is written to be read, not to be fast.

gemmi parses the files; what is here is policy: which residues are the polymer, where they stand in
the entity sequence, which alternate location is kept, and which atoms have a slot.
"""

from __future__ import annotations

import gzip
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from io import BytesIO
from itertools import pairwise, product
from pathlib import Path

import gemmi
import numpy as np
from biotite.structure.io.pdbx import BinaryCIFFile
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.residues import (
    ALTERNATIVE_SLOT_OF,
    ONE_LETTER,
    SLOT_OF,
    UNKNOWN,
    Linking,
    atom_indices,
    component,
)

BACKBONE = ("N", "CA", "C", "O")
PEPTIDE_BOND = 2.5  # Å, the longest C–N that still counts as one
NEARLY_EQUAL = 10  # hundredths of occupancy per atom that a label may lack to avoid a clash
MAX_LABELS = 8  # of a run, that may avoid a clash
CLASH = 2.2  # Å
SEQRES_FIT = 0.9  # the part of the observed residues that must find their own name in SEQRES
BINARYCIF_CATEGORIES = {"entity", "entity_poly", "entity_poly_seq", "struct_asym", "atom_site"}
POLYPEPTIDES = {
    gemmi.PolymerType.PeptideL,
    gemmi.PolymerType.PeptideD,
    gemmi.PolymerType.CyclicPseudoPeptide,
}


@dataclass(frozen=True)
class Reading:
    """One polypeptide chain of the first model; the arrays mean what they mean in ``Chain``."""

    auth_asym_id: str
    label_asym_id: str
    sequence: str
    residue_index: NDArray[np.int32]
    auth_seq_id: NDArray[np.int32]
    ins_code: NDArray[np.uint8]
    atom14_mask: NDArray[np.uint16]
    coords: NDArray[np.int32]
    resolved: NDArray[np.bool_]
    entity_sequence: str | None
    n_altloc: int
    n_microhet: int


@dataclass(frozen=True)
class Atom:
    name: str
    altloc: str  # "" = blank
    component: str
    occupancy: Decimal
    xyz: tuple[float, float, float]
    is_hydrogen: bool

    @property
    def hundredths(self) -> int:
        return int((self.occupancy * 100 + Decimal("0.5")).to_integral_value(ROUND_FLOOR))


@dataclass
class Position:
    """One place in the chain: every component and alternate location that the file has there."""

    auth_seq_id: int
    ins_code: str
    het: bool
    atoms: list[Atom]
    index: int = 0  # residue_index, once it is known
    names: list[str] = field(default_factory=list)  # components, in file order


@dataclass
class Strand:
    """One chain: its ids, its places, and the component ids of its entity if that is known."""

    auth: str
    label: str
    rows: list[Position]
    entity_names: list[str] | None

    def adjacent(self) -> list[bool]:
        """Whether each row continues the row before it."""
        if self.entity_names is None:
            return [n > 0 for n in range(len(self.rows))]
        indices = [row.index for row in self.rows]
        return [n > 0 and indices[n] == indices[n - 1] + 1 for n in range(len(indices))]


# --- files --------------------------------------------------------------------------------------


def read(path: Path) -> list[Reading]:
    """All polypeptide chains of the first model of a .pdb, .cif or .bcif file (or its .gz)."""
    data = path.read_bytes()
    name = path.name.lower()
    if name.endswith(".gz"):
        data, name = gzip.decompress(data), name.removesuffix(".gz")
    if name.endswith(".bcif"):
        strands = _chains_of_mmcif(_block_from_binarycif(data))
    elif name.endswith((".cif", ".mmcif", ".pdbx")):
        strands = _chains_of_mmcif(gemmi.cif.read_string(data).sole_block())
    else:
        strands = _chains_of_pdb(data)
    return _readings(list(strands))


def _block_from_binarycif(data: bytes) -> gemmi.cif.Block:
    """gemmi does not read BinaryCIF; biotite decodes the columns, gemmi interprets them."""
    source = BinaryCIFFile.read(BytesIO(data)).block
    block = gemmi.cif.Block("binarycif")
    for category in BINARYCIF_CATEGORIES & set(source):
        columns = {}
        for tag, column in source[category].items():
            values = column.as_array(str).tolist()
            masked = [0] * len(values) if column.mask is None else column.mask.array.tolist()
            columns[tag] = [
                gemmi.cif.quote(value) if mask == 0 else ".?"[mask - 1]
                for value, mask in zip(values, masked, strict=True)
            ]
        block.set_mmcif_category(f"_{category}.", columns, raw=True)
    return block


# --- which residues are a chain -----------------------------------------------------------------


def _chains_of_mmcif(block: gemmi.cif.Block) -> Iterator[Strand]:
    structure = gemmi.make_structure_from_block(block)
    if len(structure) == 0:
        return
    by_label: dict[str, list[gemmi.Residue]] = defaultdict(list)
    author: dict[str, str] = {}
    for chain in structure[0]:
        for residue in chain:
            label = residue.subchain or chain.name
            by_label[label].append(residue)
            author.setdefault(label, chain.name)

    entity_of = {label: entity for entity in structure.entities for label in entity.subchains}
    has_entity_records = any(
        entity.polymer_type != gemmi.PolymerType.Unknown for entity in structure.entities
    )
    for label, residues in by_label.items():
        entity = entity_of.get(label)
        if has_entity_records:
            if entity is None or entity.polymer_type not in POLYPEPTIDES:
                continue
        else:
            residues = _polymer_without_ter(residues)
        if entity is not None and entity.full_sequence:
            entity_names = [gemmi.Entity.first_mon(item) for item in entity.full_sequence]
            residues = [r for r in residues if r.label_seq is not None]
            positions = _positions(residues, key=lambda r: r.label_seq)
            for number, position in positions.items():
                position.index = number
            rows = list(positions.values())
        else:
            entity_names = None
            rows = list(_positions(residues, key=lambda r: str(r.seqid)).values())
        yield Strand(author[label], label, rows, entity_names)


def _chains_of_pdb(data: bytes) -> Iterator[Strand]:
    try:
        structure = gemmi.read_pdb_string(data, ignore_ter=True)
    except RuntimeError as error:
        if "charge" not in str(error):
            raise
        # before 1996 columns 73–80 held the entry id and a line number
        structure = gemmi.read_pdb_string(data, max_line_length=72, ignore_ter=True)
    if len(structure) == 0:
        return
    structure.merge_chain_parts()
    seqres = {entity.name: entity.full_sequence for entity in structure.entities}
    before_ter = _residues_before_ter(data)
    unobserved = _remark_465(structure.raw_remarks)
    for chain in structure[0]:
        entity_names = [gemmi.Entity.first_mon(item) for item in seqres.get(chain.name, [])]
        if chain.name in before_ter:
            polymer = [
                r
                for r in chain
                if (str(r.seqid), r.name) in before_ter[chain.name]
                and (_is_peptide(r) or r.name in entity_names)
            ]
        else:
            polymer = _polymer_without_ter(chain)
        rows = list(_positions(polymer, key=lambda r: str(r.seqid)).values())
        if not rows:
            continue
        indices = _align_to_seqres(rows, entity_names, unobserved.get(chain.name, []))
        if indices is None:
            entity_names = None
        else:
            for row, index in zip(rows, indices, strict=True):
                row.index = index
        name = chain.name or "_"
        yield Strand(name, name, rows, entity_names)


def _residues_before_ter(data: bytes) -> dict[str, set[tuple[str, str]]]:
    """Per chain of the first model: (number, component) of the residues up to its last TER."""
    seen: dict[str, set[tuple[str, str]]] = defaultdict(set)
    before: dict[str, set[tuple[str, str]]] = {}
    chain = None
    for line in data.decode("latin-1").splitlines():
        if line.startswith(("ATOM", "HETATM")):
            chain = line[20:22].strip()
            seen[chain].add((line[22:27].replace(" ", ""), line[17:20].strip()))
        elif line.startswith("TER") and chain is not None:
            before[chain] = set(seen[chain])
        elif line.startswith("ENDMDL"):
            break
    return before


def _polymer_without_ter(residues: Iterable[gemmi.Residue]) -> list[gemmi.Residue]:
    """Peptide-linking residues, less the trailing HETATM ones from the first that is not bonded."""
    peptides = [r for r in residues if _is_peptide(r)]
    end = len(peptides)
    while end > 0 and peptides[end - 1].het_flag == "H":
        end -= 1
    for i in range(max(end, 1), len(peptides)):
        same_place = peptides[i].seqid == peptides[i - 1].seqid
        if not same_place and not _bonded(_atoms(peptides[i - 1]), _atoms(peptides[i])):
            return peptides[:i]
    return peptides


def _is_peptide(residue: gemmi.Residue) -> bool:
    """A peptide-linking component, or an unknown one that has N, CA and C."""
    names = {atom.name for atom in _atoms(residue) if not atom.is_hydrogen}
    known = component(residue.name, names)
    if known is not None:
        return known.linking is Linking.PEPTIDE
    return {"N", "CA", "C"} <= names


def _positions(residues: Iterable[gemmi.Residue], key) -> dict:
    """Residues of one place (microheterogeneity) together, in file order."""
    positions: dict = {}
    for residue in residues:
        place = key(residue)
        if place not in positions:
            icode = residue.seqid.icode.strip()
            positions[place] = Position(residue.seqid.num or 0, icode, residue.het_flag == "H", [])
        positions[place].atoms += _atoms(residue)
        positions[place].names.append(residue.name)
    return positions


def _atoms(residue: gemmi.Residue) -> list[Atom]:
    atoms = []
    for atom in residue:
        xyz = (atom.pos.x, atom.pos.y, atom.pos.z)
        if not np.isfinite(xyz).all():
            continue
        if atom.element == gemmi.Element("X"):  # no element in the file
            hydrogen = atom.name.lstrip("0123456789")[:1] in ("H", "D")
        else:
            hydrogen = atom.element.is_hydrogen
        # gemmi keeps occupancies as float32; its shortest decimal is what the file says
        occupancy = Decimal(str(np.float32(atom.occ)))
        altloc = atom.altloc.strip("\0 ")
        atoms.append(Atom(atom.name, altloc, residue.name, occupancy, xyz, hydrogen))
    return atoms


def _bonded(previous: list[Atom], following: list[Atom]) -> bool:
    ends = [a.xyz for a in previous if a.name == "C"]
    starts = [a.xyz for a in following if a.name == "N"]
    return any(np.linalg.norm(np.subtract(c, n)) <= PEPTIDE_BOND for c in ends for n in starts)


# --- where the residues of a PDB file stand in SEQRES -------------------------------------------


def _remark_465(remarks: list[str]) -> dict[str, list[tuple[int, str, str]]]:
    """chain → (number, insertion code, component) of the residues that REMARK 465 calls missing."""
    missing: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    in_table = False
    for line in remarks:
        if not line.startswith("REMARK 465"):
            continue
        if "SSSEQ" in line:
            in_table = True
            continue
        if not in_table or not line[10:].strip():
            continue
        model, name, chain = line[10:15].strip(), line[15:18].strip(), line[18:20].strip()
        number = line[20:27].strip()
        icode = "" if number[-1:].isdigit() else number[-1:]
        try:
            place = int(number.removesuffix(icode) if icode else number)
        except ValueError:
            continue
        if model in ("", "1"):
            missing[chain].append((place, icode, name))
    return missing


def _align_to_seqres(
    rows: list[Position], seqres: list[str], missing: list[tuple[int, str, str]]
) -> list[int] | None:
    """1-based SEQRES positions of the observed residues; None if SEQRES cannot hold them.

    Dynamic programming over (observed residues placed, gaps opened). Names decide; between
    placements with equal names, a peptide bond forbids a gap, REMARK 465 says which residues fill
    the gaps, and author numbers say where they go.
    """
    n_rows, n_gaps = len(rows), len(seqres) - len(rows)
    if n_gaps < 0:
        return None
    use_remark = len(missing) == n_gaps
    numbers = [(row.auth_seq_id, row.ins_code) for row in rows]
    bonded = [False] + [_bonded(a.atoms, b.atoms) for a, b in pairwise(rows)]
    names = [set(row.names) for row in rows]

    # best[state][i][j]: i residues and j gaps placed, the last of them a residue (0) or a gap (1)
    best = np.full((2, n_rows + 1, n_gaps + 1), -np.inf)
    came = np.zeros((2, n_rows + 1, n_gaps + 1), dtype=int)  # state before; 2 + d: over d gaps
    best[0, 0, 0] = 0
    for i in range(n_rows + 1):
        for j in range(n_gaps + 1):
            if i + j == 0:
                continue
            expected = seqres[i + j - 1]
            if i > 0:  # residue i-1 stands at SEQRES position i+j
                match = 3.0 if expected in names[i - 1] else -6.0
                jump = numbers[i - 1][0] - numbers[i - 2][0] - 1 if i > 1 else 0
                choices = {0: best[0, i - 1, j], 1: best[1, i - 1, j]}
                if i > 1:
                    if bonded[i - 1]:
                        choices[0] += 2
                        choices[1] -= 8
                    elif jump == 0:
                        choices[0] += 1
                    elif jump > 0:
                        choices[0] -= 1
                if use_remark and j > 0 and not missing[j - 1][:2] < numbers[i - 1]:
                    choices[1] -= 1
                if not use_remark and 0 < jump <= j and not bonded[i - 1]:
                    choices[2 + jump] = best[0, i - 1, j - jump] + 1.5
                state = max(choices, key=choices.get)
                best[0, i, j], came[0, i, j] = choices[state] + match, state
            if j > 0:  # SEQRES position i+j is not observed
                match = 0.0
                if use_remark:
                    match = 1.0 if missing[j - 1][2] == expected else -2.0
                choices = {0: best[0, i, j - 1], 1: best[1, i, j - 1]}
                if use_remark and i > 0 and not numbers[i - 1] < missing[j - 1][:2]:
                    choices[0] -= 1
                state = max(choices, key=choices.get)
                best[1, i, j], came[1, i, j] = choices[state] + match, state

    indices: list[int] = []
    i, j = n_rows, n_gaps
    state = int(best[1, i, j] > best[0, i, j])
    while i + j > 0:
        before = int(came[state, i, j])
        if state == 0:
            indices.append(i + j)
            i -= 1
            if before >= 2:
                j, before = j - (before - 2), 0
        else:
            j -= 1
        state = before
    indices.reverse()

    matches = sum(seqres[k - 1] in names[n] for n, k in enumerate(indices))
    return indices if matches >= SEQRES_FIT * n_rows else None


# --- rows ---------------------------------------------------------------------------------------


def _readings(strands: list[Strand]) -> list[Reading]:
    for strand in strands:
        _drop_hydrogens_and_zero_occupancy(strand.rows)
        if strand.entity_names is None:
            index = None
            for row in strand.rows:
                index = row.auth_seq_id if index is None else max(row.auth_seq_id, index + 1)
                row.index = index
        strand.rows.sort(key=lambda row: row.index)
    chosen = alternates_that_agree(strands)
    readings = [_reading(s, labels) for s, labels in zip(strands, chosen, strict=True)]
    return [reading for reading in readings if reading is not None]


def _reading(strand: Strand, chosen: list[str]) -> Reading | None:
    rows, entity_names = strand.rows, strand.entity_names
    n_altloc = n_microhet = 0
    slots: dict[int, dict[int, tuple[float, float, float]]] = {}
    letters: dict[int, str] = {}
    for row, choice in zip(rows, chosen, strict=True):
        kept, name = _kept_atoms(row, choice)
        letters[row.index] = _letter(name, {a.name for a in kept})
        slots[row.index] = _atom14(name, kept)
    resolved = {row.index for row in rows if _is_resolved(slots[row.index])}
    if not resolved:
        return None

    first, last = min(resolved), max(resolved)
    by_index = {row.index: row for row in rows}
    if entity_names is None:
        indices = [i for i in by_index if first <= i <= last]
    else:
        indices = list(range(first, last + 1))
    entity_sequence = None
    if entity_names is not None:
        entity_sequence = "".join(_letter(name) for name in entity_names)
    sequence, auth_seq_id, ins_code, mask, coords = "", [], [], [], []
    for i in indices:
        row = by_index.get(i)
        if entity_sequence is not None and (row is None or not row.atoms):
            sequence += entity_sequence[i - 1]
        else:
            sequence += letters[i]
            n_altloc += any(a.altloc for a in row.atoms)
            n_microhet += len({a.component for a in row.atoms}) > 1
        auth_seq_id.append(row.auth_seq_id if row else 0)
        ins_code.append(ord(row.ins_code) if row and row.ins_code else 0)
        mask.append(sum(1 << slot for slot in slots.get(i, ())))
        coords += [xyz for _, xyz in sorted(slots.get(i, {}).items())]
    return Reading(
        auth_asym_id=strand.auth,
        label_asym_id=strand.label,
        sequence=sequence,
        residue_index=np.array(indices, np.int32),
        auth_seq_id=np.array(auth_seq_id, np.int32),
        ins_code=np.array(ins_code, np.uint8),
        atom14_mask=np.array(mask, np.uint16),
        coords=np.array([[_thousandths(x) for x in xyz] for xyz in coords], np.int32),
        resolved=np.array([i in resolved for i in indices]),
        entity_sequence=entity_sequence,
        n_altloc=n_altloc,
        n_microhet=n_microhet,
    )


def _thousandths(x: float) -> int:
    """rint(1000 x), ties to even as the file's decimals have them (x itself is a binary number)."""
    return int((Decimal(f"{x:.9f}") * 1000).to_integral_value(ROUND_HALF_EVEN))


def _drop_hydrogens_and_zero_occupancy(rows: list[Position]) -> None:
    for row in rows:
        row.atoms = [a for a in row.atoms if not a.is_hydrogen]
    if any(a.occupancy > 0 for row in rows for a in row.atoms):
        for row in rows:
            row.atoms = [a for a in row.atoms if a.occupancy > 0]


def _occupancy_by_label(rows: Iterable[Position]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for row in rows:
        for atom in row.atoms:
            if atom.altloc:
                total[atom.altloc] += atom.hundredths
    return total


def _ranked(total: dict[str, int]) -> list[str]:
    """Labels by summed occupancy, the largest first; ties by label."""
    return sorted(total, key=lambda label: (-total[label], label))


@dataclass
class Run:
    """Neighbouring rows with alternates, and the labels that they may take, the best first."""

    strand: int
    rows: list[int]
    labels: list[str]
    occupancy: dict[str, int]


Owner = tuple[int, str]  # number of a run with a choice, its label
FIXED: Owner = (-1, "")  # owns the atoms about which there is no choice


def alternates_that_agree(strands: list[Strand]) -> list[list[str]]:
    """The label kept at every row of every strand, "" where the row has no alternates.

    By occupancy, run by run; then all combinations of the labels of runs whose labels clash are
    tried, one and all.
    """
    runs = _runs(strands)
    taken = [run.labels[0] for run in runs]
    if any(len(run.labels) > 1 for run in runs):
        clashes = _clashes_by_owner(strands, runs)
        for group in _connected(runs, clashes):
            _choose_together(group, runs, taken, clashes)
    chosen = [[""] * len(strand.rows) for strand in strands]
    for run, label in zip(runs, taken, strict=True):
        for n in run.rows:
            chosen[run.strand][n] = _own(strands[run.strand].rows[n], label)
    return chosen


def _runs(strands: list[Strand]) -> list[Run]:
    """All runs, by the ids of their chains, then along them."""
    runs = []
    for number in sorted(range(len(strands)), key=lambda k: (strands[k].auth, strands[k].label)):
        rows, adjacent = strands[number].rows, strands[number].adjacent()
        of_strand: list[list[int]] = []
        for n, row in enumerate(rows):
            if not any(a.altloc for a in row.atoms):
                continue
            if of_strand and of_strand[-1][-1] == n - 1 and adjacent[n]:
                of_strand[-1].append(n)
            else:
                of_strand.append([n])
        for members in of_strand:
            atoms = [a for n in members for a in rows[n].atoms]
            total = _occupancy_by_label(rows[n] for n in members)
            best, *others = _ranked(total)
            allowed = NEARLY_EQUAL * sum(a.altloc == best for a in atoms)
            near = [label for label in others if total[best] - total[label] <= allowed]
            runs.append(Run(number, members, [best, *near][:MAX_LABELS], total))
    return runs


def _own(row: Position, label: str) -> str:
    """The label of a row whose run has the given one."""
    own = _occupancy_by_label([row])
    return label if label in own else _ranked(own)[0]


def _clashes_by_owner(strands: list[Strand], runs: list[Run]) -> dict[tuple[Owner, Owner], int]:
    """How many atoms of one owner clash with those of another (or of the same) one."""
    run_at = {(run.strand, n): k for k, run in enumerate(runs) for n in run.rows}
    owned: list[tuple[Owner, tuple[int, int], Atom]] = []
    for s, strand in enumerate(strands):
        for n, row in enumerate(strand.rows):
            k = run_at.get((s, n))
            labels = runs[k].labels if k is not None else [""]
            for label in labels:
                owner = FIXED if k is None or len(labels) == 1 else (k, label)
                kept, _ = _kept_atoms(row, _own(row, label) if label else "")
                owned += [(owner, (s, n), atom) for atom in kept]
    adjacent = [strand.adjacent() for strand in strands]
    found: dict[tuple[Owner, Owner], int] = defaultdict(int)
    tree = cKDTree([atom.xyz for _, _, atom in owned])
    for i, j in sorted(tree.query_pairs(CLASH + 0.01)):
        (one, (s, n), a), (two, (t, m), b) = owned[i], owned[j]
        if one[0] == two[0] and one != two:
            continue  # two labels of one run: never there together
        if s == t and (n == m or (abs(n - m) == 1 and adjacent[s][max(n, m)])):
            continue
        distance = math.dist(_in_thousandths(a), _in_thousandths(b)) / 1000
        if distance < CLASH and not _is_bond(a.name[0], b.name[0], distance):
            found[min(one, two), max(one, two)] += 1
    return found


def _in_thousandths(atom: Atom) -> list[int]:
    return [_thousandths(x) for x in atom.xyz]


def _is_bond(a: str, b: str, distance: float) -> bool:
    match "".join(sorted(a + b)):
        case "SS":
            return distance >= 1.9
        case "CS":
            return 1.6 <= distance <= 2.0
        case pair:
            return "C" in pair and 1.2 <= distance <= 1.7


def _connected(runs: list[Run], clashes: dict[tuple[Owner, Owner], int]) -> list[list[int]]:
    """Runs with a choice, in groups between which nothing clashes."""
    groups = [{k} for k, run in enumerate(runs) if len(run.labels) > 1]
    for (p, _), (q, _) in clashes:
        if p >= 0 and q >= 0:
            joined = [group for group in groups if p in group or q in group]
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return [sorted(group) for group in groups]


def _choose_together(
    group: list[int], runs: list[Run], taken: list[str], clashes: dict[tuple[Owner, Owner], int]
) -> None:
    touching = {(p, q) for (p, _), (q, _) in clashes if p != q and {p, q} <= set(group)}
    inside = {pair: n for pair, n in clashes.items() if {pair[0][0], pair[1][0]} & set(group)}

    def badness(labels: tuple[str, ...]) -> tuple:
        label_of = dict(zip(group, labels, strict=True))
        there = {FIXED, *label_of.items()}
        return (
            sum(n for (one, two), n in inside.items() if one in there and two in there),
            -sum(runs[k].occupancy[label] for k, label in label_of.items()),
            sum(label_of[p] != label_of[q] for p, q in touching),
            labels,
        )

    today = tuple(taken[k] for k in group)
    assert math.prod(len(runs[k].labels) for k in group) <= 4096, "too many to try them all"
    best = min(product(*(runs[k].labels for k in group)), key=badness)
    if badness(best)[0] < badness(today)[0]:
        for k, label in zip(group, best, strict=True):
            taken[k] = label


def _kept_atoms(row: Position, choice: str) -> tuple[list[Atom], str]:
    """The atoms of the blank and the chosen label, backbone completed, and the component's name."""
    name = next((a.component for a in row.atoms if a.altloc == choice), row.names[0])
    kept: dict[str, Atom] = {}
    atoms = [a for a in row.atoms if a.component == name]
    for atom in atoms:
        if atom.altloc in ("", choice):
            kept.setdefault(atom.name, atom)
    for label in _ranked(_occupancy_by_label([row])):
        for atom in atoms:
            if atom.altloc == label and atom.name in BACKBONE:
                kept.setdefault(atom.name, atom)
    return list(kept.values()), name


# --- chemistry ----------------------------------------------------------------------------------


def _letter(name: str, atom_names: Iterable[str] = ()) -> str:
    known = component(name, set(atom_names) or None)
    return ONE_LETTER[UNKNOWN if known is None else known.aatype]


def _atom14(name: str, atoms: list[Atom]) -> dict[int, tuple[float, float, float]]:
    """slot → coordinates; a proper atom name goes before an alternative one."""
    known = component(name, {a.name for a in atoms})
    kind = UNKNOWN if known is None else known.kind
    short = [a for a in atoms if len(a.name) <= 4]
    places = atom_indices(np.array([a.name for a in short], "S4").view("<u4"))
    slots: dict[int, tuple[float, float, float]] = {}
    for table in (SLOT_OF, ALTERNATIVE_SLOT_OF):
        for atom, place in zip(short, places, strict=True):
            slot = int(table[kind, place])
            if slot >= 0:
                slots.setdefault(slot, atom.xyz)
    return slots


def _is_resolved(atoms: dict[int, tuple[float, float, float]]) -> bool:
    if not {0, 1, 2} <= set(atoms):
        return False
    n, ca, c = (np.array(atoms[slot]) for slot in range(3))
    area = np.linalg.norm(np.cross(c - ca, n - ca))
    return bool(area > 0.05 * np.linalg.norm(c - ca) * np.linalg.norm(n - ca))
