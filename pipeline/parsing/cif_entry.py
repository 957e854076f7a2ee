"""mmCIF and BinaryCIF categories → `EntryInfo`.

Definitions: the mmCIF dictionary of the wwPDB (mmcif_pdbx_v50) and ModelCIF (mmcif_ma).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import groupby

import numpy as np

from pipeline.chain import EntryMetadata
from pipeline.entry_ids import is_alphafold_db_id, is_pdb_id
from pipeline.parsing.cif_words import Column
from pipeline.parsing.confidence import is_alphafold_db_title, is_experimental, with_statements
from pipeline.parsing.connections import connections_of_category
from pipeline.parsing.diffraction import XRayRows, rows_of_xrays
from pipeline.parsing.entry_info import Assembly, AssemblyPart, EntryInfo, Polymer
from pipeline.parsing.errors import ParseError
from pipeline.parsing.header_values import (
    completeness_of,
    day_of_cif,
    no_days_of_cif,
    r_free_of,
)
from pipeline.parsing.numbers import cif_number, whole_number
from pipeline.residues import ONE_LETTER, RESTYPES

_MATRIX = tuple(f"matrix[{i}][{j}]" for i in (1, 2, 3) for j in (1, 2, 3))
_VECTOR = tuple(f"vector[{i}]" for i in (1, 2, 3))

CATEGORIES: dict[str, tuple[str, ...]] = {
    "cell": ("length_a", "length_b", "length_c"),
    "database_2": ("database_id",),
    "database_pdb_rev": ("date", "date_original"),
    "diffrn_radiation": ("diffrn_id", "pdbx_scattering_type"),
    "em_3d_reconstruction": ("resolution",),
    "entity": ("id", "type"),
    "entity_poly": ("entity_id", "type", "pdbx_seq_one_letter_code"),
    "entity_poly_seq": ("entity_id", "num", "mon_id"),
    "entity_src_gen": ("entity_id", "pdbx_gene_src_ncbi_taxonomy_id"),
    "entity_src_nat": ("entity_id", "pdbx_ncbi_taxonomy_id"),
    "entry": ("id",),
    "exptl": ("method",),
    "ma_qa_metric": ("name", "type"),
    "ma_target_ref_db_details": (
        "target_entity_id",
        "db_name",
        "db_accession",
        "ncbi_taxonomy_id",
    ),
    "pdbx_audit_revision_history": ("revision_date", "data_content_type"),
    "pdbx_database_status": ("recvd_initial_deposition_date",),
    "pdbx_entity_src_syn": ("entity_id", "ncbi_taxonomy_id"),
    "pdbx_struct_assembly": ("oligomeric_count",),
    "pdbx_struct_assembly_gen": ("assembly_id", "oper_expression", "asym_id_list"),
    "pdbx_struct_oper_list": ("id", *_MATRIX, *_VECTOR),
    "refine": ("pdbx_refine_id", "ls_d_res_high", "ls_r_factor_r_free", "ls_percent_reflns_obs"),
    "refine_hist": ("number_atoms_total",),
    "reflns": ("pdbx_diffrn_id", "d_resolution_high", "percent_possible_obs"),
    "software": ("classification", "description"),
    "struct": ("title", "pdbx_model_details"),
    "struct_asym": ("id", "entity_id"),
    "struct_conn": (),
    "struct_ref": ("entity_id", "db_name", "pdbx_db_accession"),
}
"""What `read_entry` may ask for: categories, and their tags."""

_PROTEIN_TYPES = frozenset({"polypeptide(l)", "polypeptide(d)", "cyclic-pseudo-peptide"})
_NO_PROTEIN = re.compile(r"nucle|sacchar|\b[dr]na\b")
"""In the types of polymers that are none: nucleotides, nucleic acids (peptide nucleic acid among
them), saccharides. Words that are in neither list leave it to the residues."""
_MAX_OPERATORS = 10_000
_MAX_OPERATORS_OF_ALL = 50_000
_GROUP = re.compile(r"\(([^()]*)\)")

Categories = Callable[..., Mapping[str, Column]]


def read_entry(category: Categories, block_name: str) -> EntryInfo:
    """Interpret the categories of one data block.

    Parameters
    ----------
    category : callable
        (name, tags) → {tag: column}, such as ``CifText.category``; ``{}`` for an absent category.
    block_name : str
        Used as the entry's id where ``_entry.id`` is absent.
    """

    @cache
    def wanted(name: str) -> Mapping[str, Column]:
        return category(name, CATEGORIES[name])

    return _read_entry(wanted, block_name)


def _read_entry(category: Categories, block_name: str) -> EntryInfo:
    entities = _entities(category)
    struct_asym = category("struct_asym")
    polymers = {
        asym: entities[entity]
        for asym, entity in zip(
            struct_asym.get("id", []), struct_asym.get("entity_id", []), strict=False
        )
        if asym is not None and entity in entities
    }
    history = category("refine_hist").get("number_atoms_total", [])
    claimed = [n for n in map(whole_number, history) if n is not None]
    measured = ("exptl", "refine", "reflns", "diffrn_radiation")
    xrays = rows_of_xrays(*map(category, measured))
    metadata = _metadata(category, xrays, block_name)
    is_measured = bool(
        is_experimental(metadata.method) or metadata.resolution or category("refine")
    )
    has_origin = bool(is_measured or metadata.method or metadata.source) or _has_cell(category)
    info = EntryInfo(
        metadata=metadata,
        polymers=polymers,
        entities=entities,
        has_entities=bool(entities) or bool(struct_asym),
        read_assemblies=partial(_assemblies, category),
        read_connections=lambda: connections_of_category(category("struct_conn")),
        claimed_atoms=max(claimed, default=None),
        is_measured=is_measured,
        has_origin=has_origin,
        flags=no_days_of_cif(text for column in _dates(category) for text in column) + xrays.flags,
    )
    if info.may_look_predicted:
        info = with_statements(info, _statements(category), is_handed_in=False)
    return info


def _has_cell(category: Categories) -> bool:
    """Whether there is a unit cell; one of 1 Å stands for none."""
    edges = (_number(_first(category("cell"), f"length_{axis}")) for axis in "abc")
    return any(edge is not None and edge > 1 for edge in edges)


def _statements(category: Categories) -> list[str | None]:
    """Texts that may say that the structure is a prediction."""
    return [
        text
        for name in ("struct", "software")
        for tag in CATEGORIES[name]
        for text in category(name).get(tag, ())
    ]


def _first(columns: Mapping[str, Column], *tags: str) -> str | None:
    for tag in tags:
        for value in columns.get(tag, ()):
            if value is not None:
                return value
    return None


def _number(text: str | None) -> float | None:
    value = cif_number(text)
    return value if value is not None and 0 < value < 1000 else None


def _dates(category: Categories) -> tuple[Column, Column]:
    """What stands where days belong: of the deposition, and of every revision. Files written before
    2017 have both in one table, which is read where the newer ones name no day that exists."""
    old = category("database_pdb_rev")
    status = category("pdbx_database_status").get("recvd_initial_deposition_date", [])
    history = _revisions_of_structure(category("pdbx_audit_revision_history"))
    return (
        status if _has_day(status) else [*status, *old.get("date_original", [])],
        history if _has_day(history) else [*history, *old.get("date", [])],
    )


def _revisions_of_structure(history: Mapping[str, Column]) -> Column:
    """Days of the model's revisions: maps and metadata of an entry have revisions of their own."""
    days, contents = history.get("revision_date", []), history.get("data_content_type", [])
    of_model = [(content or "").lower() == "structure model" for content in contents]
    if not any(of_model):
        return days
    return [day for day, is_of_model in zip(days, of_model, strict=False) if is_of_model]


def _has_day(column: Column) -> bool:
    return any(day_of_cif(text) is not None for text in column)


def _metadata(category: Categories, xrays: XRayRows, block_name: str) -> EntryMetadata:
    database = category("database_2")
    names = [(v or "").upper() for v in database.get("database_id", [])]
    entry_id = _first(category("entry"), "id") or block_name or None
    methods = [m for m in category("exptl").get("method", []) if m is not None]
    metrics = category("ma_qa_metric")
    quality = [(v or "").lower() for tag in ("name", "type") for v in metrics.get(tag, [])]
    title = _first(category("struct"), "title")
    refine, reflns = xrays.refine, xrays.reflns
    resolution = (
        _number(_first(refine, "ls_d_res_high"))
        or _number(_first(category("em_3d_reconstruction"), "resolution"))
        or _number(_first(reflns, "d_resolution_high"))
    )
    deposited, revised = ([d for d in map(day_of_cif, c) if d] for c in _dates(category))
    oligomers = category("pdbx_struct_assembly").get("oligomeric_count", [])
    oligomer = whole_number(oligomers[0]) if oligomers else None
    method = "; ".join(m.upper() for m in methods) or None
    told = None if is_experimental(method) else title
    source = source_of(entry_id, names, bool(quality), told)
    is_plddt = source == "AlphaFold DB" or any("plddt" in q for q in quality)
    return EntryMetadata(
        file_entry_id=entry_id,
        method=method,
        resolution=resolution,
        deposition_date=deposited[0] if deposited else None,
        release_date=min(revised, default=None),
        title=title,
        source=source,
        oligomer=oligomer if oligomer is not None and oligomer > 0 else None,
        confidence_kind="plddt" if is_plddt else None,
        r_free=r_free_of(_first(refine, "ls_r_factor_r_free")),
        data_completeness=completeness_of(_first(reflns, "percent_possible_obs"))
        or completeness_of(_first(refine, "ls_percent_reflns_obs")),
    )


def source_of(
    entry_id: str | None, databases: list[str], is_model: bool, title: str | None
) -> str | None:
    """The database a file comes from, by its identifiers; it decides the licence.

    A title counts in the very form that AlphaFold DB gives it: others mention AlphaFold too.
    """
    ident = (entry_id or "").upper()
    if (
        "ALPHAFOLDDB" in databases
        or is_alphafold_db_id(ident)
        or (title is not None and is_alphafold_db_title(title))
    ):
        return "AlphaFold DB"
    if "MODELARCHIVE" in databases or ident.startswith(("MA-", "MA_MA")):
        return "ModelArchive"
    if "PDB" in databases or (is_pdb_id(ident) and not is_model):
        return "PDB"
    return None


def _entities(category: Categories) -> dict[str, Polymer]:
    entity = category("entity")
    poly = category("entity_poly")
    kinds: dict[str, str] = {}
    for ident, kind in zip(entity.get("id", []), entity.get("type", []), strict=False):
        if ident is not None:
            kinds[ident] = (kind or "").lower()
    types: dict[str, str | None] = {}
    for ident, kind in zip(
        poly.get("entity_id", []),
        poly.get("type", [None] * len(poly.get("entity_id", []))),
        strict=False,
    ):
        if ident is not None:
            types[ident] = kind.lower() if kind is not None else None
            kinds.setdefault(ident, "polymer")
    sequences = _sequences(category)
    for ident in sequences:
        kinds.setdefault(ident, "polymer")
    if not category("entity_poly_seq"):
        sequences = _sequences_of_letters(poly, types)
    accessions = _accessions(category)
    taxonomies = _taxonomies(category)
    polymers = {}
    for ident, kind in kinds.items():
        protein: bool | None = False
        if kind == "polymer" or (not kind and ident in types):
            kind_of_polymer = types.get(ident)
            if kind_of_polymer in _PROTEIN_TYPES:
                protein = True
            elif kind_of_polymer is None or not _NO_PROTEIN.search(kind_of_polymer):
                protein = None
        elif not kind:
            protein = None
        polymers[ident] = Polymer(
            is_protein=protein,
            entity_id=ident,
            sequence=sequences.get(ident) if protein is not False else None,
            uniprot=accessions.get(ident),
            taxonomy=taxonomies.get(ident),
        )
    return polymers


def _sequences(category: Categories) -> dict[str, tuple[str, ...]]:
    rows = category("entity_poly_seq")
    columns = rows.get("entity_id", []), rows.get("num", []), rows.get("mon_id", [])
    sequences, broken = _sequences_in_order(*columns)
    if broken:
        sequences, broken = _sequences_in_order(*_in_order(*columns))
    return {k: tuple(v) for k, v in sequences.items() if k not in broken}


_COMP_ID_OF = {
    **dict(zip(ONE_LETTER, (*RESTYPES, "UNK"), strict=True)),
    **{"U": "SEC", "O": "PYL", "B": "UNK", "J": "UNK", "Z": "UNK"},
}
_LETTER = re.compile(r"\(([A-Z0-9]{1,5})\)|([A-Z])")


def _sequences_of_letters(
    poly: Mapping[str, Column], types: Mapping[str, str | None]
) -> dict[str, tuple[str, ...]]:
    """Components of proteins from ``pdbx_seq_one_letter_code``: a letter is an amino acid, and what
    has none stands in parentheses, ``(MSE)``."""
    sequences = {}
    codes = poly.get("pdbx_seq_one_letter_code", [])
    for ident, code in zip(poly.get("entity_id", []), codes, strict=False):
        letters = "".join((code or "").upper().split())
        is_whole = not _LETTER.sub("", letters)
        if ident is not None and letters and is_whole and types.get(ident) in _PROTEIN_TYPES:
            found = (match.groups() for match in _LETTER.finditer(letters))
            sequences[ident] = tuple(name or _COMP_ID_OF[letter] for name, letter in found)
    return sequences


def _in_order(entities: Column, numbers: Column, comps: Column) -> tuple[Column, Column, Column]:
    """The rows by entity and number, for a table may list its rows in any order.

    Alternatives for one place stand next to each other; where a place is told again elsewhere, the
    order is all that tells the two apart, and it stays.
    """
    rows = list(zip(entities, numbers, comps, strict=False))
    places: dict[tuple[str | None, str | None], list[int]] = {}
    for k, (entity, number, _) in enumerate(rows):
        members = places.setdefault((entity, number), [])
        if members and members[-1] != k - 1:
            return entities, numbers, comps
        members.append(k)
    order = sorted(places, key=lambda place: (place[0] or "", whole_number(place[1]) or 0))
    sorted_rows = [rows[k] for place in order for k in places[place]]
    first, second, third = (list(column) for column in zip(*sorted_rows, strict=True))
    return first, second, third


def _sequences_in_order(
    entities: Column, numbers: Column, comps: Column
) -> tuple[dict[str, list[str]], set[str]]:
    """Components of each entity, and the entities whose numbers do not count up from 1."""
    sequences: dict[str, list[str]] = {}
    broken = set()
    end = 0
    # Rows of one entity stand together, nearly always numbered 1, 2, 3 …
    for entity, of_entity in groupby(entities[: min(len(numbers), len(comps))]):
        begin, end = end, end + len(list(of_entity))
        here, members = numbers[begin:end], comps[begin:end]
        if entity is None:
            continue
        if entity in sequences:
            broken.add(entity)
        if here != _counting(len(here)):
            firsts = _first_of_alternatives(here, members)
            if firsts is None:
                broken.add(entity)
                continue
            members = firsts
        comp_ids = [m or "UNK" for m in members]
        if not "".join(comp_ids).isupper():  # the CCD has capitals only
            comp_ids = [comp_id.upper() for comp_id in comp_ids]
        sequences[entity] = comp_ids
    return sequences, broken


_NUMBERS: list[str | None] = []
_MAX_KEPT = 100_000
"""Twice the longest protein that is known."""


def _counting(n: int) -> Column:
    """``["1", "2", …]``; kept, because every entity is compared with it."""
    if n > _MAX_KEPT:
        return [str(k) for k in range(1, n + 1)]
    _NUMBERS.extend(str(k) for k in range(len(_NUMBERS) + 1, n + 1))
    return _NUMBERS[:n]


def _first_of_alternatives(numbers: Column, comps: Column) -> Column | None:
    """Components of a sequence with microheterogeneity: the first of each number stands.

    ``None`` where the numbers skip or repeat: they index nothing then.
    """
    kept: Column = []
    for number, comp in zip(numbers, comps, strict=True):
        if number == str(len(kept)) and kept:
            continue
        if number != str(len(kept) + 1):
            return None
        kept.append(comp)
    return kept


def _accessions(category: Categories) -> dict[str, str]:
    reference = category("struct_ref")
    accessions: dict[str, str] = {}
    n = len(reference.get("entity_id", []))
    for entity, name, code in zip(
        reference.get("entity_id", []),
        reference.get("db_name", [None] * n),
        reference.get("pdbx_db_accession", [None] * n),
        strict=False,
    ):
        if entity and code and (name or "").upper() in ("UNP", "SWS", "TREMBL", "UNIPROT"):
            accessions.setdefault(entity, code)
    target = category("ma_target_ref_db_details")
    n = len(target.get("target_entity_id", []))
    for entity, name, code in zip(
        target.get("target_entity_id", []),
        target.get("db_name", [None] * n),
        target.get("db_accession", [None] * n),
        strict=False,
    ):
        if entity and code and (name or "").upper() == "UNP":
            accessions.setdefault(entity, code)
    return accessions


def _taxonomies(category: Categories) -> dict[str, int]:
    taxonomies: dict[str, int] = {}
    for name, key, tag in (
        ("entity_src_gen", "entity_id", "pdbx_gene_src_ncbi_taxonomy_id"),
        ("entity_src_nat", "entity_id", "pdbx_ncbi_taxonomy_id"),
        ("pdbx_entity_src_syn", "entity_id", "ncbi_taxonomy_id"),
        ("ma_target_ref_db_details", "target_entity_id", "ncbi_taxonomy_id"),
    ):
        rows = category(name)
        for entity, number in zip(rows.get(key, []), rows.get(tag, []), strict=False):
            taxon = whole_number((number or "").split(",")[0].strip())  # chimeras list several
            if entity and taxon is not None and taxon > 0:
                taxonomies.setdefault(entity, taxon)
    return taxonomies


def _assemblies(category: Categories) -> tuple[Assembly, ...]:
    generators = category("pdbx_struct_assembly_gen")
    if not generators:
        return ()
    operators: dict[str | None, tuple[np.ndarray, np.ndarray]] = {}
    rows = category("pdbx_struct_oper_list")
    for k, ident in enumerate(rows.get("id", [])):
        try:
            numbers = [cif_number(rows[tag][k]) for tag in (*_MATRIX, *_VECTOR)]
        except (KeyError, IndexError):
            continue
        if None not in numbers:
            operator = np.array(numbers, np.float64)
            if np.isfinite(operator).all():  # an exponent may be too large
                operators[ident] = (operator[:9].reshape(3, 3), operator[9:])
    parts: dict[str, list[AssemblyPart]] = {}
    unknown: set[str] = set()
    n_operators = 0
    for ident, expression, asyms in zip(
        generators.get("assembly_id", []),
        generators.get("oper_expression", []),
        generators.get("asym_id_list", []),
        strict=False,
    ):
        if not ident or not expression or not asyms:
            continue
        try:
            expanded = expand(expression)
            n_operators += len(expanded)
            if n_operators > _MAX_OPERATORS_OF_ALL:
                return ()  # an assembly of some of its parts would be another one
            chosen = [compose([operators[name] for name in names]) for names in expanded]
        except (KeyError, ParseError):
            # Without one of its operators the assembly is unknown; asking for it says so.
            unknown.add(ident)
            continue
        names = tuple(a.strip() for a in asyms.split(",") if a.strip())
        parts.setdefault(ident, []).append(AssemblyPart(names, tuple(chosen)))
    return tuple(Assembly(ident, tuple(p)) for ident, p in parts.items() if ident not in unknown)


def expand(expression: str) -> list[tuple[str, ...]]:
    """Operator expression → operator names, to be applied from the last to the first.

    ``"1,2"`` → ``[("1",), ("2",)]``; ``"(1-2)(P)"`` → ``[("1", "P"), ("2", "P")]``.

    Raises
    ------
    ParseError
        The expression is not one, or stands for over 10,000 operators.
    """
    groups = _GROUP.findall(expression)
    if not groups:
        groups = [expression]
    elif _GROUP.sub("", expression).strip():
        raise ParseError("bad-assembly", f"operator expression {expression!r}")
    products: list[tuple[str, ...]] = [()]
    for group in groups:
        names: list[str] = []
        for item in group.split(","):
            item = item.strip()
            first, last = map(whole_number, item.partition("-")[::2])
            if first is not None and last is not None:
                if last - first >= _MAX_OPERATORS:
                    raise ParseError("bad-assembly", f"operator expression {expression!r}")
                names += [str(k) for k in range(first, last + 1)]
            elif item:
                names.append(item)
            if len(names) > _MAX_OPERATORS:
                break
        if len(products) * len(names) > _MAX_OPERATORS:
            raise ParseError("bad-assembly", f"operator expression {expression!r} is too long")
        products = [(*p, n) for p in products for n in names]
    return products


def compose(steps: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """One operator from several; the last is applied first."""
    rotation, translation = np.eye(3), np.zeros(3)
    for r, t in reversed(steps):
        rotation, translation = r @ rotation, r @ translation + t
    return rotation, translation
