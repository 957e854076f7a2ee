"""Ways of writing a structure file again that mean the same.

`CIF_WAYS`, `BCIF_WAYS` and `PDB_WAYS` change nothing that a file says. The writers of other
programs, in `WRITERS`, leave things out; what, is for the tests to say.

mmCIF is taken apart by gemmi and BinaryCIF by biotite, so that nothing here leans on the readers
under test.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby

import gemmi
import msgpack
import numpy as np
from biotite.structure.io import pdbx
from biotite.structure.io.pdbx import encoding

# ---- mmCIF as words ----------------


@dataclass(frozen=True)
class Table:
    """A category of mmCIF; `rows` hold CIF words, quotes included."""

    name: str
    tags: list[str]
    rows: list[list[str]]

    def column(self, tag: str) -> int:
        return [t.lower() for t in self.tags].index(tag.lower())

    def map(self, tags: Iterable[str], change: Callable[[str], str]) -> Table:
        """The table with some columns changed; ``.`` and ``?`` stay."""
        wanted = {tag.lower() for tag in tags}
        ks = [k for k, tag in enumerate(self.tags) if tag.lower() in wanted]
        rows = [list(row) for row in self.rows]
        for row in rows:
            for k in ks:
                if row[k] not in (".", "?"):
                    row[k] = change(row[k])
        return replace(self, rows=rows)

    def take(self, columns: Sequence[int]) -> Table:
        rows = [[row[k] for k in columns] for row in self.rows]
        return Table(self.name, [self.tags[k] for k in columns], rows)


@dataclass(frozen=True)
class Block:
    name: str
    tables: list[Table]

    def __getitem__(self, name: str) -> Table:
        return next(t for t in self.tables if t.name.lower() == name)

    def with_table(self, name: str, change: Callable[[Table], Table]) -> Block:
        return replace(
            self, tables=[change(t) if t.name.lower() == name else t for t in self.tables]
        )

    def all_tables(self, change: Callable[[Table], Table]) -> Block:
        return replace(self, tables=[change(t) for t in self.tables])


def block_of_cif(text: str) -> Block:
    source = next(
        b for b in gemmi.cif.read_string(text) if len(b.find_mmcif_category("_atom_site."))
    )
    tables: dict[str, Table] = {}
    for item in source:
        if item.pair is not None:
            tags, rows = [item.pair[0]], [[item.pair[1]]]
        else:
            tags, values = list(item.loop.tags), list(item.loop.values)
            n = len(tags)
            rows = [values[k : k + n] for k in range(0, len(values), n)]
        name = tags[0][1:].partition(".")[0]
        names = [tag.partition(".")[2] for tag in tags]
        # A bare word may begin with a semicolon within a line only, where it may not stay.
        rows = [[quote(w) if w[0] == ";" and "\n" not in w else w for w in row] for row in rows]
        before = tables.get(name)
        if before is None:
            tables[name] = Table(name, names, rows)
        else:
            tables[name] = Table(name, before.tags + names, [before.rows[0] + rows[0]])
    return Block(source.name, list(tables.values()))


def block_of_bcif(data: bytes) -> Block:
    source = pdbx.BinaryCIFFile.read(io.BytesIO(data))
    (name, block), *_ = source.items()
    tables = []
    for category, found in block.items():
        columns = []
        for column in found.values():
            values = column.data.array
            if values.dtype.kind == "f":  # more decimals would tell of binary fractions
                words = [f"{value:.6f}" for value in values.tolist()]
            else:
                words = [gemmi.cif.quote(word) for word in values.astype(str).tolist()]
            if column.mask is not None:
                present = column.mask.array.tolist()
                words = [w if m == 0 else ".?"[m - 1] for w, m in zip(words, present, strict=True)]
            columns.append(words)
        rows = [list(row) for row in zip(*columns, strict=True)]
        tables.append(Table(category, list(found), rows))
    return Block(name, tables)


def value_of(word: str) -> str:
    return gemmi.cif.as_string(word)


_BARE = re.compile(r"(?!(?:data|save)_|(?:loop|stop|global)_$)[^\s\"'#$_;\[\].?][^\s]*", re.I)


def quote(value: str, marks: str = "'\"") -> str:
    """A word for a value; bare where it can be and `marks` is the default."""
    if marks == "'\"" and _BARE.fullmatch(value):
        return value
    if "\n" not in value:
        for mark in (*marks, "'", '"'):
            if not re.search(mark + r"\s", value):
                return f"{mark}{value}{mark}"
    return text_field(value)


def text_field(value: str) -> str:
    return f";{value}\n;"


Rows = Callable[[Sequence[Sequence[str]]], str]


def joined(words: Sequence[str], separator: str = " ", lead: str = "") -> str:
    """Words behind each other on a line that begins with `lead`; text fields begin lines."""
    line = lead + separator.join(words)
    if "\n;" not in line:
        return line
    line = lead
    for word in words:
        if word[0] == ";":
            line += word if not line or line[-1] == "\n" else f"\n{word}"
            line += "\n"
        else:
            line += word if not line or line == lead or line[-1] == "\n" else separator + word
    return line.removesuffix("\n")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """As the archive writes them: every column in its place, a blank at the end."""
    columns = list(zip(*rows, strict=True))
    if not any(word[0] == ";" for column in columns for word in column):
        # Nearly all tables, and half a million words of a large one.
        widths = [max(map(len, column)) for column in columns]
        padded = (
            [word.ljust(n) for word in column] for column, n in zip(columns, widths, strict=True)
        )
        return "".join(" ".join(row) + " \n" for row in zip(*padded, strict=True))
    widths = [max((len(w) for w in column if w[0] != ";"), default=0) for column in columns]
    return "".join(
        joined([w.ljust(n) for w, n in zip(row, widths, strict=True)]) + " \n" for row in rows
    )


def ragged(separator: str = " ") -> Rows:
    return lambda rows: "".join(joined(row, separator) + "\n" for row in rows)


def written(
    block: Block,
    rows: Rows = aligned,
    *,
    loops_of_one: bool = False,
    head: Callable[[str], str] = str,
    between: str = "# \n",
) -> str:
    """A block as text.

    Parameters
    ----------
    rows : callable
        Rows of a loop → text.
    loops_of_one : bool
        Whether a table of one row is a loop as well.
    head : callable
        Applied to each keyword and tag.
    between : str
        What stands behind each table.
    """
    parts = [head("data_") + block.name + "\n", between]
    for table in block.tables:
        tags = [head(f"_{table.name}.{tag}") for tag in table.tags]
        if len(table.rows) == 1 and not loops_of_one:
            for tag, word in zip(tags, table.rows[0], strict=True):
                parts.append(joined([tag, word], "   ") + "\n")
        elif table.rows:
            parts += [head("loop_") + "\n", *(f"{tag}\n" for tag in tags), rows(table.rows)]
        parts.append(between)
    return "".join(parts)


# ---- mmCIF: ways that say the same ----------------

Random = random.Random
CifWay = Callable[[Block, Random], str]
NUMBERS = ("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv")


def as_the_archive(block: Block, _: Random) -> str:
    return written(block)


def columns_shuffled(block: Block, rng: Random) -> str:
    def shuffled(table: Table) -> Table:
        return table.take(rng.sample(range(len(table.tags)), len(table.tags)))

    return written(block.all_tables(shuffled))


def _quoted(block: Block, marks: Callable[[], str | None]) -> Block:
    def again(word: str) -> str:
        mark = marks()
        if mark is None or word in (".", "?") or word.startswith(";"):
            return word
        return quote(value_of(word), mark)

    return block.all_tables(lambda t: replace(t, rows=[[again(w) for w in r] for r in t.rows]))


def single_quotes(block: Block, _: Random) -> str:
    return written(_quoted(block, lambda: "'"))


def double_quotes_ragged(block: Block, _: Random) -> str:
    return written(_quoted(block, lambda: '"'), ragged())


def quotes_here_and_there(block: Block, rng: Random) -> str:
    return written(_quoted(block, lambda: rng.choice([None, None, None, "'", '"'])), ragged())


def names_quoted(block: Block, rng: Random) -> str:
    """Quotes around what is no number, which is what most programs that quote do."""
    names = ("label_atom_id", "label_comp_id", "label_asym_id", "auth_asym_id", "auth_comp_id")

    def again(word: str) -> str:
        return quote(value_of(word), rng.choice("'\""))

    return written(block.with_table("atom_site", lambda t: t.map(names, again)))


def record_names_padded(block: Block, _: Random) -> str:
    """``"ATOM  "``: the PDB format's name, with the blanks of its columns."""

    def padded(word: str) -> str:
        return f'"{value_of(word):<6}"'

    return written(block.with_table("atom_site", lambda t: t.map(["group_PDB"], padded)))


def tabs(block: Block, _: Random) -> str:
    return written(block, ragged("\t"))


def one_blank(block: Block, _: Random) -> str:
    return written(block, ragged())


def many_blanks(block: Block, rng: Random) -> str:
    def rows(table: Sequence[Sequence[str]]) -> str:
        blanks = [" ", "  ", "   ", " \t ", "\t\t"]
        return "".join(
            joined(row, rng.choice(blanks), rng.choice(["", " ", "\t"]))
            + rng.choice(["", " ", "   ", "\t"])
            + "\n"
            for row in table
        )

    return written(block, rows)


def rows_over_lines(block: Block, _: Random) -> str:
    """Rows of three lines each."""

    def rows(table: Sequence[Sequence[str]]) -> str:
        cut = -(-len(table[0]) // 3)
        return "".join(
            joined(row[k : k + cut]) + "\n" for row in table for k in range(0, len(row), cut)
        )

    return written(block, rows)


def lines_of_ten_words(block: Block, _: Random) -> str:
    """Words that run on over lines, with no regard to rows."""

    def rows(table: Sequence[Sequence[str]]) -> str:
        words = [word for row in table for word in row]
        step = 10 if len(table[0]) > 10 else 3
        return "".join(joined(words[k : k + step]) + "\n" for k in range(0, len(words), step))

    return written(block, rows)


def one_word_a_line(block: Block, _: Random) -> str:
    return written(block, lambda table: "".join(f"{word}\n" for row in table for word in row))


def empty_lines(block: Block, rng: Random) -> str:
    def rows(table: Sequence[Sequence[str]]) -> str:
        return "".join(joined(row) + rng.choice(["\n", "\n", "\n\n", "\n  \n"]) for row in table)

    return written(block, rows, between="\n\n")


_REMARKS = (
    "# a comment\n",
    "#\n",
    "#loop_\n",
    "# data_OTHER 'open\n",
    '#_atom_site.id "x\n',
    "# ; it's\n",
    "##########\n",
)


def comments_between_rows(block: Block, rng: Random) -> str:
    def rows(table: Sequence[Sequence[str]]) -> str:
        return "".join(
            joined(row) + "\n" + (rng.choice(_REMARKS) if rng.random() < 0.2 else "")
            for row in table
        )

    return written(block, rows, between="# \n# between tables\n")


def comments_behind_rows(block: Block, rng: Random) -> str:
    def rows(table: Sequence[Sequence[str]]) -> str:
        return "".join(
            joined(row) + (f" {rng.choice(_REMARKS)}" if rng.random() < 0.2 else "\n")
            for row in table
        )

    return written(block, rows)


def comments_everywhere_else(block: Block, _: Random) -> str:
    """Behind tags and keywords, and before the data block."""
    text = written(block, between="#\n")
    text = re.sub(r"(?m)^(loop_)$", r"\1 # what follows", text)
    text = re.sub(r"(?m)^(_atom_site\.[^\s#]+)$", r"\1 # a column", text)
    return f"# made by hand\n#\n\n{text}# the end\n"


def carriage_returns(block: Block, _: Random) -> str:
    return written(block).replace("\n", "\r\n")


def carriage_returns_alone(block: Block, _: Random) -> str:
    return written(block, ragged()).replace("\n", "\r")


def no_last_newline(block: Block, _: Random) -> str:
    """The file's last line has no end; the atoms stand before it."""
    tables = sorted(block.tables, key=lambda t: t.name.lower() != "atom_site")
    return written(replace(block, tables=tables), between="#\n").rstrip("#\n")


def exponents(block: Block, rng: Random) -> str:
    """``-12.345`` as ``-12345e-3``, ``-1.2345E1`` or ``-0.12345E+02``."""

    def again(word: str) -> str:
        number = Decimal(value_of(word))
        sign, digits, places = number.as_tuple()
        assert isinstance(places, int)
        mantissa = "".join(map(str, digits))
        minus = "-" if sign else ""
        way = rng.randrange(4)
        if way == 0:
            return f"{minus}{mantissa}e{places}"
        if way == 1:
            rest = mantissa[1:] or "0"
            return f"{minus}{mantissa[0]}.{rest}E{places + len(mantissa) - 1}"
        if way == 2:
            return f"{minus}0.{mantissa}E{places + len(mantissa):+03d}"
        return word

    return written(block.with_table("atom_site", lambda t: t.map(NUMBERS, again)), ragged())


def uncertainties(block: Block, rng: Random) -> str:
    def again(word: str) -> str:
        return f"{value_of(word)}({rng.choice(['1', '12', '3', '104'])})"

    return written(block.with_table("atom_site", lambda t: t.map(NUMBERS, again)))


def numbers_of_other_length(block: Block, rng: Random) -> str:
    """``1.200`` as ``1.2``, ``+1.200``, ``01.200`` or ``1.2000``; ``0.5`` as ``.5``."""

    def again(word: str) -> str:
        word = value_of(word)
        sign, number = ("-", word[1:]) if word[0] == "-" else ("", word)
        way = rng.randrange(6)
        if "." not in number:
            return word
        if way == 0:
            short = number.rstrip("0")
            return sign + (short if short[0] != "." or len(short) > 1 else "0.0")
        if way == 1 and not sign:
            return f"+{number}"
        if way == 2:
            return f"{sign}0{number}"
        if way == 3:
            return f"{word}0"
        if way == 4 and number[0] == "0" and number.strip("0."):
            return sign + number[1:]
        return word

    return written(block.with_table("atom_site", lambda t: t.map(NUMBERS, again)), ragged())


def absent_values_told_otherwise(block: Block, rng: Random) -> str:
    """``.`` for ``?`` and the other way round."""

    def again(word: str) -> str:
        return rng.choice(".?") if word in (".", "?") else word

    return written(
        block.with_table(
            "atom_site", lambda t: replace(t, rows=[[again(w) for w in r] for r in t.rows])
        )
    )


def tables_in_another_order(block: Block, rng: Random) -> str:
    tables = rng.sample(block.tables, len(block.tables))
    return written(replace(block, tables=tables))


def atoms_first_entities_last(block: Block, rng: Random) -> str:
    def rank(table: Table) -> tuple[int, float]:
        name = table.name.lower()
        last = name.startswith(("entity", "struct_asym"))
        return (0 if name == "atom_site" else 2 if last else 1, rng.random())

    return written(replace(block, tables=sorted(block.tables, key=rank)))


def atoms_last_and_open(block: Block, _: Random) -> str:
    """The atoms are the last of the file, and nothing closes the table."""
    tables = sorted(block.tables, key=lambda t: t.name.lower() == "atom_site")
    return written(replace(block, tables=tables), between="")


def tags_in_other_case(block: Block, rng: Random) -> str:
    cases: list[Callable[[str], str]] = [str.upper, str.lower, str.title]
    return written(block, head=lambda word: rng.choice(cases)(word))


def items_as_loops(block: Block, _: Random) -> str:
    return written(block, loops_of_one=True)


def everything_indented(block: Block, _: Random) -> str:
    def rows(table: Sequence[Sequence[str]]) -> str:
        return "".join(joined(row, lead="   ") + "\n" for row in table)

    return written(block, rows, head=" {}".format)


def loops_on_one_line(block: Block, _: Random) -> str:
    """The keyword and the tags of a loop on one line."""
    text = written(block, ragged())
    return re.sub(r"(?m)^(loop_|_[^\s]+)\n(?=_[^\s]+\n)", r"\1 ", text)


def text_fields(block: Block, rng: Random) -> str:
    """Text fields for what was quoted, and for some of the words that were not."""

    def again(word: str, share: float) -> str:
        if word in (".", "?") or word.startswith(";"):
            return word
        if word[0] in "'\"" or rng.random() < share:
            return text_field(value_of(word))
        return word

    def changed(table: Table) -> Table:
        share = 0.01 if len(table.rows) > 50 else 0.3
        return replace(table, rows=[[again(w, share) for w in row] for row in table.rows])

    return written(block.all_tables(changed), ragged())


def chains_in_another_order(block: Block, rng: Random) -> str:
    """Within each model the atoms of each label id together, in a random order of the ids."""

    def shuffled(table: Table) -> Table:
        asym = table.column("label_asym_id")
        model = table.column("pdbx_PDB_model_num")
        rows: list[list[str]] = []
        for _, members in groupby(table.rows, key=lambda r: r[model]):
            by_chain: dict[str, list[list[str]]] = {}
            for row in members:
                by_chain.setdefault(row[asym], []).append(row)
            for chain in rng.sample(list(by_chain), len(by_chain)):
                rows += by_chain[chain]
        return replace(table, rows=rows)

    return written(block.with_table("atom_site", shuffled))


def atoms_of_residues_shuffled(block: Block, rng: Random) -> str:
    def shuffled(table: Table) -> Table:
        keys = [table.column(t) for t in ("label_asym_id", "label_seq_id", "auth_seq_id")]
        keys += [
            table.column(t)
            for t in ("pdbx_PDB_ins_code", "label_comp_id", "label_alt_id", "pdbx_PDB_model_num")
            if t in table.tags
        ]
        rows: list[list[str]] = []
        for _, members in groupby(table.rows, key=lambda r: [r[k] for k in keys]):
            residue = list(members)
            rows += rng.sample(residue, len(residue))
        return replace(table, rows=rows)

    return written(block.with_table("atom_site", shuffled))


def alternates_at_the_end(block: Block, _: Random) -> str:
    """Within each model all atoms of the second and further alternates behind the others."""

    def moved(table: Table) -> Table:
        alt, model = table.column("label_alt_id"), table.column("pdbx_PDB_model_num")
        rows: list[list[str]] = []
        for _, members in groupby(table.rows, key=lambda r: r[model]):
            rows += sorted(members, key=lambda r: r[alt] if r[alt] not in ".?A1" else "")
        return replace(table, rows=rows)

    return written(block.with_table("atom_site", moved))


def atoms_in_any_order(block: Block, rng: Random) -> str:
    """The rows of each model shuffled; where they stand means nothing where labels tell all."""

    def shuffled(table: Table) -> Table:
        model = table.column("pdbx_PDB_model_num")
        rows: list[list[str]] = []
        for _, members in groupby(table.rows, key=lambda r: r[model]):
            of_model = list(members)
            rows += rng.sample(of_model, len(of_model))
        return replace(table, rows=rows)

    return written(block.with_table("atom_site", shuffled))


def rows_of_entities_in_another_order(block: Block, rng: Random) -> str:
    """Rows of the tables that describe entities; each row says by itself what it is about.

    Only alternatives for one place of a sequence keep their order: the first of them counts.
    """

    def shuffled(table: Table) -> Table:
        name = table.name.lower()
        if name == "entity_poly_seq":
            ks = table.column("entity_id"), table.column("num")
            places: dict[tuple[str, ...], list[list[str]]] = {}
            for row in table.rows:
                places.setdefault(tuple(row[k] for k in ks), []).append(row)
            groups = rng.sample(list(places.values()), len(places))
            return replace(table, rows=[row for group in groups for row in group])
        if name in ("entity", "entity_poly", "struct_asym"):
            return replace(table, rows=rng.sample(table.rows, len(table.rows)))
        return table

    return written(block.all_tables(shuffled))


def absent_values_as_blanks(block: Block, rng: Random) -> str:
    """A quoted blank for no insertion code and no label, as the PDB format's columns have it."""

    def again(table: Table) -> Table:
        ks = [k for k, t in enumerate(table.tags) if t in ("label_alt_id", "pdbx_PDB_ins_code")]
        rows = [list(row) for row in table.rows]
        for row in rows:
            for k in ks:
                if row[k] in (".", "?"):
                    row[k] = rng.choice(["' '", "''", '" "'])
        return replace(table, rows=rows)

    return written(block.with_table("atom_site", again), ragged())


def numbers_padded_within_quotes(block: Block, _: Random) -> str:
    """``"  12.345"``: the field of a PDB line in quotes."""

    def padded(word: str) -> str:
        return f'"{value_of(word):>8}"'

    tags = (*NUMBERS, "auth_seq_id", "label_seq_id")
    return written(block.with_table("atom_site", lambda t: t.map(tags, padded)), ragged())


def serials_gone(block: Block, _: Random) -> str:
    """Without the columns of atom_site that say nothing beyond the others."""
    spare = {"id", "pdbx_formal_charge", "auth_atom_id", "auth_comp_id", "calc_flag"}

    def fewer(table: Table) -> Table:
        return table.take([k for k, tag in enumerate(table.tags) if tag not in spare])

    return written(block.with_table("atom_site", fewer))


def more_tables_and_columns(block: Block, rng: Random) -> str:
    """Columns and tables of no concern, and other data blocks around."""

    def wider(table: Table) -> Table:
        rows = [[*row, "?", str(rng.random()), "'a b'"] for row in table.rows]
        tags = [*table.tags, "pdbx_tls_group_id", "my_score", "my_note"]
        return Table(table.name, tags, rows)

    others = [
        Table("atom_site_anisotrop", ["id", "U[1][1]"], [["1", "0.1"], ["2", "0.2"]]),
        Table("my_text", ["id", "note"], [["1", text_field("loop_\n_atom_site.id\ndata_x")]]),
    ]
    names = {table.name.lower() for table in block.tables}
    tables = block.tables + [table for table in others if table.name not in names]
    tables = rng.sample(tables, len(tables))
    text = written(replace(block, tables=tables).with_table("atom_site", wider))
    return (
        "data_comp_LIG\nloop_\n_chem_comp_atom.comp_id\n_chem_comp_atom.atom_id\nLIG C1\n"
        f"LIG 'C2'\n#\n{text}data_another\n_entry.id OTHER\n_entity.id 9\n_entity.type polymer\n"
    )


def words_again(style: gemmi.cif.Style) -> CifWay:
    """gemmi's writing of the document, without interpreting it."""

    def again(block: Block, _: Random) -> str:
        return gemmi.cif.read_string(written(block)).as_string(style)

    return again


def biotite_words(block: Block, _: Random) -> str:
    source = pdbx.CIFFile.read(io.StringIO(written(block)))
    for found in source.values():
        for name in list(found):
            # Categories are written from their text as long as nobody looks at them.
            category = found[name]
            found[name] = pdbx.CIFCategory(
                {k: v.as_array(str) if v.mask is None else v for k, v in category.items()}
            )
    return _written_by(source)


def _written_by(file: pdbx.CIFFile) -> str:
    out = io.StringIO()
    file.write(out)
    return out.getvalue()


def biopython_words(block: Block, _: Random) -> str:
    """Biopython's writing of the dictionary that it makes of a file."""
    from Bio.PDB.MMCIF2Dict import MMCIF2Dict
    from Bio.PDB.mmcifio import MMCIFIO

    writer = MMCIFIO()
    # It writes the words of its dictionary in alphabetical order of the categories.
    writer.set_dict(MMCIF2Dict(io.StringIO(written(block))))
    out = io.StringIO()
    writer.save(out)
    return out.getvalue()


CIF_WAYS: dict[str, CifWay] = {
    way.__name__: way
    for way in (
        as_the_archive,
        columns_shuffled,
        single_quotes,
        double_quotes_ragged,
        quotes_here_and_there,
        names_quoted,
        record_names_padded,
        tabs,
        one_blank,
        many_blanks,
        rows_over_lines,
        lines_of_ten_words,
        one_word_a_line,
        empty_lines,
        comments_between_rows,
        comments_behind_rows,
        comments_everywhere_else,
        carriage_returns,
        carriage_returns_alone,
        no_last_newline,
        exponents,
        uncertainties,
        numbers_of_other_length,
        absent_values_told_otherwise,
        tables_in_another_order,
        atoms_first_entities_last,
        atoms_last_and_open,
        tags_in_other_case,
        items_as_loops,
        everything_indented,
        loops_on_one_line,
        text_fields,
        chains_in_another_order,
        atoms_of_residues_shuffled,
        alternates_at_the_end,
        atoms_in_any_order,
        rows_of_entities_in_another_order,
        absent_values_as_blanks,
        numbers_padded_within_quotes,
        serials_gone,
        more_tables_and_columns,
        biotite_words,
        biopython_words,
    )
}
for _style in ("Simple", "NoBlankLines", "PreferPairs", "Pdbx", "Indent35", "Aligned"):
    CIF_WAYS[f"gemmi_words_{_style.lower()}"] = words_again(getattr(gemmi.cif.Style, _style))

# ---- BinaryCIF ----------------

BcifWay = Callable[[Block, Random], bytes]
Encoded = pdbx.BinaryCIFColumn
_WHOLE = re.compile(r"-?[0-9]{1,9}")
_DECIMAL = re.compile(r"-?[0-9]{1,7}\.[0-9]{1,6}")


def _mask(words: Sequence[str]) -> np.ndarray:
    return np.array([{".": 1, "?": 2}.get(w, 0) for w in words], np.uint8)


def _numbers(words: Sequence[str], mask: np.ndarray) -> np.ndarray | None:
    """A column of words as int32 or float64, if it is one; 0 where there is no value."""
    present = [w for w, m in zip(words, mask, strict=True) if m == 0]
    filled = [w if m == 0 else "0" for w, m in zip(words, mask, strict=True)]
    if present and all(map(_WHOLE.fullmatch, present)):
        return np.array(filled, str).astype(np.int32)
    if present and all(map(_DECIMAL.fullmatch, present)):
        return np.array(filled, str).astype(np.float64)
    return None


def _strings(words: Sequence[str]) -> np.ndarray:
    return np.array([w if w in (".", "?") else value_of(w) for w in words], str)


def _plain() -> list[encoding.Encoding]:
    return [encoding.ByteArrayEncoding()]  # an encoding keeps what it learns of its first column


def _binary(
    block: Block, column: Callable[[str, Sequence[str]], Encoded], shuffle: Random | None = None
) -> dict:
    """The content of a BinaryCIF file, before MessagePack."""
    tables = [t for t in block.tables if t.rows]
    if shuffle is not None:
        tables = shuffle.sample(tables, len(tables))
    found = pdbx.BinaryCIFBlock()
    for table in tables:
        names = list(enumerate(table.tags))
        if shuffle is not None:
            names = shuffle.sample(names, len(names))
        found[table.name] = pdbx.BinaryCIFCategory(
            {tag: column(tag, [row[k] for row in table.rows]) for k, tag in names}
        )
    return pdbx.BinaryCIFFile({block.name: found}).serialize()


def _column(
    words: Sequence[str],
    numbers: Callable[[np.ndarray], pdbx.BinaryCIFData] = pdbx.BinaryCIFData,
    strings: Callable[[np.ndarray], pdbx.BinaryCIFData] = pdbx.BinaryCIFData,
    always_masked: bool = False,
) -> Encoded:
    mask = _mask(words)
    values = _numbers(words, mask)
    data = strings(_strings(words)) if values is None else numbers(values)
    masked = always_masked or mask.any()
    return Encoded(data, pdbx.BinaryCIFData(mask) if masked else None)


def _pack(content: dict) -> bytes:
    return msgpack.packb(content, use_bin_type=True, default=lambda number: number.item())


def binary_plain(block: Block, _: Random) -> bytes:
    """Byte arrays and strings, nothing packed, run-length or delta encoded."""

    def numbers(values: np.ndarray) -> pdbx.BinaryCIFData:
        return pdbx.BinaryCIFData(values, _plain())

    def strings(values: np.ndarray) -> pdbx.BinaryCIFData:
        plain = encoding.StringArrayEncoding(data_encoding=_plain(), offset_encoding=_plain())
        return pdbx.BinaryCIFData(values, [plain])

    return _pack(_binary(block, lambda _, words: _column(words, numbers, strings)))


def binary_all_strings(block: Block, _: Random) -> bytes:
    return _pack(_binary(block, lambda _, words: Encoded(pdbx.BinaryCIFData(_strings(words)))))


def binary_strings_without_numbers_masked(block: Block, _: Random) -> bytes:
    """Absent values are empty strings under a mask."""

    def column(_: str, words: Sequence[str]) -> Encoded:
        mask = _mask(words)
        values = np.where(mask == 0, _strings(words), "")
        return Encoded(pdbx.BinaryCIFData(values), pdbx.BinaryCIFData(mask))

    return _pack(_binary(block, column))


def binary_masks_everywhere(block: Block, _: Random) -> bytes:
    return _pack(_binary(block, lambda _, words: _column(words, always_masked=True)))


def _long_chain(size: int) -> Callable[[np.ndarray], pdbx.BinaryCIFData]:
    """Fixed point (1000), delta, run length, packing into integers of `size` bytes."""

    def encoded(values: np.ndarray) -> pdbx.BinaryCIFData:
        steps: list[encoding.Encoding] = []
        if values.dtype == np.float64:
            scaled = values * 1000
            if not np.array_equal(np.rint(scaled) / 1000, values) or np.abs(scaled).max() > 2**30:
                return pdbx.BinaryCIFData(values, [encoding.ByteArrayEncoding()])
            steps.append(encoding.FixedPointEncoding(1000, src_type=encoding.TypeCode.FLOAT64))
        steps += [
            encoding.DeltaEncoding(),
            encoding.RunLengthEncoding(),
            encoding.IntegerPackingEncoding(size),
            encoding.ByteArrayEncoding(),
        ]
        return pdbx.BinaryCIFData(values, steps)

    return encoded


def binary_packed_in_bytes(block: Block, _: Random) -> bytes:
    return _pack(_binary(block, lambda _, words: _column(words, _long_chain(1))))


def binary_packed_in_pairs(block: Block, _: Random) -> bytes:
    return _pack(_binary(block, lambda _, words: _column(words, _long_chain(2))))


def binary_run_lengths(block: Block, _: Random) -> bytes:
    """Run lengths of whole numbers; decimals of at most three places as 32-bit floats."""

    def encoded(values: np.ndarray) -> pdbx.BinaryCIFData:
        plain = encoding.ByteArrayEncoding()
        if values.dtype == np.int32:
            return pdbx.BinaryCIFData(values, [encoding.RunLengthEncoding(), plain])
        if not np.array_equal(np.rint(values * 1000) / 1000, values):
            return pdbx.BinaryCIFData(values, [plain])
        return pdbx.BinaryCIFData(values.astype(np.float32), [plain])

    return _pack(_binary(block, lambda _, words: _column(words, encoded)))


def binary_smallest_integers(block: Block, _: Random) -> bytes:
    """Whole numbers in the smallest type that holds them, decimals as fixed point of floats."""

    def encoded(values: np.ndarray) -> pdbx.BinaryCIFData:
        if values.dtype == np.int32:
            kinds = (np.int8, np.uint8, np.int16, np.uint16, np.int32)
            kind = next(k for k in kinds if (values.astype(k) == values).all())
            return pdbx.BinaryCIFData(values.astype(kind), _plain())
        if np.abs(values).max() > 30_000 or not np.array_equal(np.rint(values * 1e4) / 1e4, values):
            return pdbx.BinaryCIFData(values, _plain())
        fixed = encoding.FixedPointEncoding(10_000, src_type=encoding.TypeCode.FLOAT32)
        return pdbx.BinaryCIFData(values.astype(np.float32), [fixed, *_plain()])

    return _pack(_binary(block, lambda _, words: _column(words, encoded)))


def binary_absent_as_empty(block: Block, _: Random) -> bytes:
    """No masks: strings, empty where there is no value."""

    def column(_: str, words: Sequence[str]) -> Encoded:
        return Encoded(pdbx.BinaryCIFData(np.where(_mask(words) == 0, _strings(words), "")))

    return _pack(_binary(block, column))


def binary_columns_and_tables_shuffled(block: Block, rng: Random) -> bytes:
    return _pack(_binary(block, lambda _, words: _column(words), rng))


def binary_keys_shuffled(block: Block, rng: Random) -> bytes:
    """Every map of the file with its keys in another order."""

    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            keys = rng.sample(list(value), len(value))
            return {k: shuffled(value[k]) for k in keys}
        return [shuffled(v) for v in value] if isinstance(value, (list, tuple)) else value

    content = _binary(block, lambda _, words: _column(words))
    return _pack({"encoder": "x", **shuffled(content)})  # type: ignore[dict-item]


def binary_byte_strings(block: Block, _: Random) -> bytes:
    """Keys and texts as byte strings, as py-mmcif has them."""

    def encoded(value: object) -> object:
        if isinstance(value, dict):
            return {encoded(k): encoded(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [encoded(v) for v in value]
        return value.encode() if isinstance(value, str) else value

    return _pack(encoded(_binary(block, lambda _, words: _column(words))))  # type: ignore[arg-type]


def binary_tags_in_other_case(block: Block, rng: Random) -> bytes:
    def changed(table: Table) -> Table:
        return replace(table, tags=[rng.choice([t.upper(), t.lower()]) for t in table.tags])

    return _pack(_binary(block.all_tables(changed), lambda _, words: _column(words)))


def _binary_file(block: Block) -> pdbx.BinaryCIFFile:
    return pdbx.BinaryCIFFile.read(io.BytesIO(_pack(_binary(block, lambda _, w: _column(w)))))


def binary_compressed_by_biotite(block: Block, _: Random) -> bytes:
    out = io.BytesIO()
    pdbx.compress(_binary_file(block), float_tolerance=None).write(out)
    return out.getvalue()


BCIF_WAYS: dict[str, BcifWay] = {
    way.__name__: way
    for way in (
        binary_plain,
        binary_all_strings,
        binary_strings_without_numbers_masked,
        binary_masks_everywhere,
        binary_packed_in_bytes,
        binary_packed_in_pairs,
        binary_run_lengths,
        binary_smallest_integers,
        binary_absent_as_empty,
        binary_columns_and_tables_shuffled,
        binary_keys_shuffled,
        binary_byte_strings,
        binary_tags_in_other_case,
        binary_compressed_by_biotite,
    )
}

# ---- PDB ----------------

PdbWay = Callable[[list[str], Random], str]
_ATOMS = ("ATOM  ", "HETATM")
_COORDINATES = (*_ATOMS, "ANISOU", "SIGATM", "SIGUIJ", "TER")


def lines_of_pdb(text: str) -> list[str]:
    return text.splitlines()


def _text(lines: Iterable[str], end: str = "\n") -> str:
    return "".join(line + end for line in lines)


def _changed(lines: list[str], change: Callable[[str], str]) -> list[str]:
    return [change(line) if line.startswith(_ATOMS) else line for line in lines]


def pdb_carriage_returns(lines: list[str], _: Random) -> str:
    return _text(lines, "\r\n")


def pdb_carriage_returns_alone(lines: list[str], _: Random) -> str:
    return _text(lines, "\r")


def pdb_padded(lines: list[str], _: Random) -> str:
    return _text(line.ljust(80) for line in lines)


def pdb_unpadded(lines: list[str], _: Random) -> str:
    return _text(line.rstrip() for line in lines)


def pdb_lines_too_long(lines: list[str], _: Random) -> str:
    return _text(line.ljust(80) + "  beyond 1.000" for line in lines)


def pdb_empty_lines(lines: list[str], rng: Random) -> str:
    return _text(line + rng.choice(["", "", "", "\n", "\n   "]) for line in lines)


def pdb_no_last_newline(lines: list[str], _: Random) -> str:
    return _text(lines).rstrip()


def pdb_remarks_anywhere(lines: list[str], rng: Random) -> str:
    """Remarks among the atoms; those of the header stay where they are."""
    found = []
    for line in lines:
        if line.startswith(_ATOMS) and rng.random() < 0.05:
            found.append(rng.choice(["REMARK   3 HERE", "REMARK 999", "REMARK", "USER  x", "#"]))
        found.append(line)
    return _text(found)


def pdb_other_records_between(lines: list[str], rng: Random) -> str:
    """ANISOU, SIGATM, SIGUIJ and CONECT lines between the atoms."""
    found = []
    for line in lines:
        if line.startswith(("ANISOU", "SIGATM", "SIGUIJ")):
            continue
        found.append(line)
        if line.startswith(_ATOMS):
            for record in ("SIGATM", "ANISOU", "SIGUIJ"):
                if rng.random() < 0.3:
                    found.append(f"{record}{line[6:27]}   1234   1234   1234      0      0      0")
            if rng.random() < 0.1:
                found.append(f"CONECT{line[6:11]}{line[6:11]}")
    return _text(found)


def pdb_only_what_counts(lines: list[str], _: Random) -> str:
    """Without the records that say nothing of chains and residues."""
    spare = ("ANISOU", "SIGATM", "SIGUIJ", "CONECT", "MASTER", "HELIX", "SHEET", "ORIGX", "SCALE")
    return _text(line for line in lines if not line.startswith(spare))


def pdb_serials(way: str) -> PdbWay:
    """Serial numbers counted anew, all 1, all zero, or hybrid-36 beyond 99999."""

    def serial(k: int) -> str:
        if way == "counted":
            return f"{k % 100000:5d}"
        if way == "hybrid":
            digits, number = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", k + 10 * 36**4
            text = ""
            while number:
                number, last = divmod(number, 36)
                text = digits[last] + text
            return text
        return "    1" if way == "one" else "*****"

    def again(lines: list[str], _: Random) -> str:
        found, k = [], 0
        for line in lines:
            if line.startswith(_ATOMS):
                line, k = line[:6] + serial(k) + line[11:], k + 1
            found.append(line)
        return _text(line for line in found if not line.startswith("CONECT"))

    return again


def pdb_segids(lines: list[str], _: Random) -> str:
    """Columns 73–76 hold the chain id, and 79–80 a charge."""
    return _text(
        _changed(lines, lambda s: f"{s:<80}"[:72] + f"{s[21]:<4}" + f"{s:<80}"[76:78] + "1+")
    )


def pdb_segids_of_the_entry(lines: list[str], _: Random) -> str:
    return _text(_changed(lines, lambda s: f"{s:<80}"[:72] + "1XYZ" + f"{s:<80}"[76:80]))


def pdb_elements_blank(lines: list[str], _: Random) -> str:
    return _text(_changed(lines, lambda s: s[:66].rstrip()))


def pdb_old_hydrogen_names(lines: list[str], _: Random) -> str:
    """``1HB`` for ``HB1``, as before 2007, whatever the element columns say."""

    def old(line: str) -> str:
        name = line[12:16].strip()
        if line[76:78].strip() not in ("H", "D") or not name[-1].isdigit():
            return line
        return f"{line[:12]}{name[-1] + name[:-1]:<4}{line[16:]}"

    return _text(_changed(lines, old))


def pdb_names_to_the_left(lines: list[str], _: Random) -> str:
    """Names, residue names and numbers at the left of their columns."""

    def moved(line: str) -> str:
        line = line.ljust(80)
        cuts = [(12, 16), (17, 20), (22, 26), (30, 38), (38, 46), (46, 54), (54, 60), (60, 66)]
        for begin, end in cuts:
            field = line[begin:end].strip().ljust(end - begin)
            line = line[:begin] + field + line[end:]
        return line

    return _text(_changed(lines, moved))


def pdb_numbers_of_other_length(lines: list[str], rng: Random) -> str:
    """``12.500`` as ``12.5``, on either side of its columns."""

    def again(line: str) -> str:
        for begin, end in ((30, 38), (38, 46), (46, 54), (54, 60), (60, 66)):
            number = line[begin:end].strip()
            if "." in number and rng.random() < 0.5:
                number = number.rstrip("0")
                number = rng.choice([str.ljust, str.rjust])(number, end - begin)
                line = line[:begin] + number + line[end:]
        return line

    return _text(_changed(lines, again))


def _by_residue(lines: list[str], change: Callable[[list[str]], list[str]]) -> str:
    found: list[str] = []
    kept = [line for line in lines if not line.startswith(("ANISOU", "SIGATM", "SIGUIJ"))]
    for key, group in groupby(kept, key=lambda s: s[16:27] if s.startswith(_ATOMS) else None):
        members = list(group)
        found += members if key is None else change(members)
    return _text(found)


def pdb_atoms_of_residues_shuffled(lines: list[str], rng: Random) -> str:
    return _by_residue(lines, lambda residue: rng.sample(residue, len(residue)))


def pdb_alternates_at_the_end(lines: list[str], _: Random) -> str:
    """The second and further alternates of a chain behind its other atoms, before TER."""
    kept = [line for line in lines if not line.startswith(("ANISOU", "SIGATM", "SIGUIJ"))]
    found: list[str] = []
    for _, group in groupby(kept, key=lambda s: s[20:22] if s.startswith(_ATOMS) else s):
        found += sorted(group, key=lambda s: s[16] if s[16:17] not in " A1" else "")
    return _text(found)


def pdb_one_model_said(lines: list[str], _: Random) -> str:
    """MODEL and ENDMDL around the atoms of a file that has none."""
    if any(line.startswith("MODEL ") for line in lines):
        return _text(lines)
    first = next(k for k, line in enumerate(lines) if line.startswith(_ATOMS))
    last = max(k for k, line in enumerate(lines) if line.startswith(_COORDINATES))
    body = lines[first : last + 1]
    return _text([*lines[:first], "MODEL        1", *body, "ENDMDL", *lines[last + 1 :]])


def pdb_ends(lines: list[str], _: Random) -> str:
    """Several END, and no MASTER."""
    kept = [line for line in lines if not line.startswith(("END   ", "MASTER")) and line != "END"]
    return _text([*kept, "END", "END   ", "END"])


def pdb_bare_ter(lines: list[str], _: Random) -> str:
    return _text("TER" if line.startswith("TER") else line for line in lines)


def pdb_chains_in_another_order(lines: list[str], rng: Random) -> str:
    """Polymers that TER ends in another order, and behind them what is no polymer, likewise."""

    def shuffled(body: list[str]) -> list[str]:
        ends = [k for k, line in enumerate(body) if line.startswith("TER")]
        polymers = [body[a + 1 : b + 1] for a, b in zip([-1, *ends], ends, strict=False)]
        ids = [{line[20:22] for line in p if line.startswith(_ATOMS)} for p in polymers]
        alone = all(len(i) == 1 for i in ids) and len(set(map(str, ids))) == len(ids)
        rest = body[ends[-1] + 1 :] if ends else body
        if not ends or not alone or any(line.startswith("ATOM") for line in rest):
            return body
        others = [list(g) for _, g in groupby(rest, key=lambda s: (s[20:22], s[17:20] == "HOH"))]
        polymers = rng.sample(polymers, len(polymers))
        others = rng.sample(others, len(others))
        return [line for part in (*polymers, *others) for line in part]

    found: list[str] = []
    for of_atoms, group in groupby(lines, key=lambda s: s.startswith(_COORDINATES)):
        members = list(group)
        found += shuffled(members) if of_atoms else members
    return _text(found)


def pdb_header_records_in_another_order(lines: list[str], rng: Random) -> str:
    """Kinds of records of the header in another order; each kind keeps its own."""
    first = next(k for k, line in enumerate(lines) if line.startswith((*_ATOMS, "MODEL ")))
    kinds: dict[str, list[str]] = {}
    for line in lines[:first]:
        kinds.setdefault(line[:10] if line.startswith("REMARK") else line[:6], []).append(line)
    shuffled = rng.sample(list(kinds.values()), len(kinds))
    return _text(line for part in (*shuffled, lines[first:]) for line in part)


PDB_WAYS: dict[str, PdbWay] = {
    way.__name__: way
    for way in (
        pdb_carriage_returns,
        pdb_carriage_returns_alone,
        pdb_padded,
        pdb_unpadded,
        pdb_lines_too_long,
        pdb_empty_lines,
        pdb_no_last_newline,
        pdb_remarks_anywhere,
        pdb_other_records_between,
        pdb_only_what_counts,
        pdb_segids,
        pdb_segids_of_the_entry,
        pdb_elements_blank,
        pdb_old_hydrogen_names,
        pdb_names_to_the_left,
        pdb_numbers_of_other_length,
        pdb_atoms_of_residues_shuffled,
        pdb_alternates_at_the_end,
        pdb_one_model_said,
        pdb_ends,
        pdb_bare_ter,
        pdb_chains_in_another_order,
        pdb_header_records_in_another_order,
    )
}
for _way in ("counted", "hybrid", "one", "stars"):
    PDB_WAYS[f"pdb_serials_{_way}"] = pdb_serials(_way)

# ---- writers of other programs, which leave things out ----------------


def first_alternates(block: Block) -> Block:
    """The file without alternates: of each residue the first label stays, and is not said."""

    def first(table: Table) -> Table:
        alt = table.column("label_alt_id")
        keys = [
            table.column(tag)
            for tag in ("label_asym_id", "auth_asym_id", "auth_seq_id", "pdbx_PDB_model_num")
        ]
        code = table.column("pdbx_PDB_ins_code") if "pdbx_PDB_ins_code" in table.tags else None
        label: dict[tuple[str | None, ...], str] = {}
        rows = []
        for row in table.rows:
            if row[alt] not in (".", "?"):
                residue = (*(row[k] for k in keys), row[code] if code is not None else None)
                if label.setdefault(residue, row[alt]) != row[alt]:
                    continue
                row = [*row[:alt], ".", *row[alt + 1 :]]
            rows.append(row)
        return replace(table, rows=rows)

    return block.with_table("atom_site", first)


def first_alternates_of_pdb(lines: list[str]) -> list[str]:
    label: dict[str, str] = {}
    found = []
    model = 0
    for line in lines:
        model += line.startswith("MODEL ")
        if line.startswith(_ATOMS) and line[16] != " ":
            if label.setdefault(f"{model}{line[21:27]}", line[16]) != line[16]:
                continue
            line = f"{line[:16]} {line[17:]}"
        if not line.startswith(("ANISOU", "SIGATM", "SIGUIJ")):
            found.append(line)
    return found


def without_alternates(source: Block | list[str]) -> Block | list[str]:
    """The file with the first label of each residue alone, which is what biotite keeps."""
    if isinstance(source, Block):
        return first_alternates(source)
    return first_alternates_of_pdb(source)


def pdb_without_header(lines: list[str]) -> str:
    keep = ("ATOM  ", "HETATM", "TER", "MODEL ", "ENDMDL", "END")
    return _text(line for line in lines if line.startswith(keep))


def _gemmi_of(source: Block | list[str]) -> gemmi.Structure:
    if isinstance(source, Block):
        return gemmi.make_structure_from_block(gemmi.cif.read_string(written(source))[0])
    structure = gemmi.read_pdb_string(_text(source))
    structure.setup_entities()
    structure.assign_label_seq_id()
    return structure


def gemmi_mmcif(source: Block | list[str]) -> str:
    return _gemmi_of(source).make_mmcif_document().as_string()


def gemmi_mmcif_atoms_alone(source: Block | list[str]) -> str:
    groups = gemmi.MmcifOutputGroups(False, atoms=True, group_pdb=True, block_name=True)
    return _gemmi_of(source).make_mmcif_document(groups).as_string()


def gemmi_pdb(source: Block | list[str]) -> str:
    return _gemmi_of(source).make_pdb_string()


def gemmi_pdb_bare(source: Block | list[str]) -> str:
    return _gemmi_of(source).make_pdb_string(gemmi.PdbWriteOptions(minimal=True))


def _biopython_of(source: Block | list[str]):
    from Bio.PDB import MMCIFParser, PDBParser

    if isinstance(source, Block):
        return MMCIFParser(QUIET=True).get_structure("x", io.StringIO(written(source)))
    return PDBParser(QUIET=True).get_structure("x", io.StringIO(_text(source)))


def biopython_mmcif(source: Block | list[str]) -> str:
    from Bio.PDB.mmcifio import MMCIFIO

    return _saved_by(MMCIFIO(), source)


def biopython_pdb(source: Block | list[str]) -> str:
    from Bio.PDB import PDBIO

    return _saved_by(PDBIO(), source)


def _saved_by(writer, source: Block | list[str]) -> str:
    writer.set_structure(_biopython_of(source))
    out = io.StringIO()
    writer.save(out)
    return out.getvalue()


def _biotite_of(source: Block | list[str], authors: bool = True):
    from biotite.structure.io import pdb

    fields = ["b_factor", "occupancy", "atom_id", "charge"]
    if isinstance(source, Block):
        file = pdbx.CIFFile.read(io.StringIO(written(source)))
        return pdbx.get_structure(file, 1, extra_fields=fields, use_author_fields=authors)
    return pdb.PDBFile.read(io.StringIO(_text(source))).get_structure(1, extra_fields=fields)


def biotite_mmcif(source: Block | list[str]) -> str:
    file = pdbx.CIFFile()
    pdbx.set_structure(file, _biotite_of(source), data_block="x")
    return _written_by(file)


def biotite_bcif(source: Block | list[str]) -> bytes:
    file = pdbx.BinaryCIFFile()
    pdbx.set_structure(file, _biotite_of(source), data_block="x")
    out = io.BytesIO()
    pdbx.compress(file).write(out)
    return out.getvalue()


def biotite_pdb(source: Block | list[str]) -> str:
    from biotite.structure.io import pdb

    file = pdb.PDBFile()
    file.set_structure(_biotite_of(source))
    out = io.StringIO()
    file.write(out)
    return out.getvalue()


def labels_by_residue(block: Block) -> str:
    """The atoms alone; a stretch of ATOM and every HETATM residue has a label of its own.

    So write Biopython, and ProDy by it; `label_seq_id` counts the ATOM residues.
    """
    site = block["atom_site"]
    columns = {tag: site.column(tag) for tag in site.tags}
    rows, n, seq, before, asym = [], 0, 0, None, None
    for row in site.rows:
        row = list(row)
        residue = [row[columns[t]] for t in ("auth_asym_id", "auth_seq_id", "label_comp_id")]
        if "pdbx_PDB_ins_code" in columns:
            residue.append(row[columns["pdbx_PDB_ins_code"]])
        hetero = row[columns["group_PDB"]] == "HETATM"
        if residue != before:
            if before is None or before[0] != residue[0]:
                seq = 0
            seq += not hetero
            stretch = [residue[0], residue if hetero else None]
            n += stretch != asym
            asym, before = stretch, residue
        row[columns["label_asym_id"]] = _letters(n)
        row[columns["label_entity_id"]] = "?"
        row[columns["label_seq_id"]] = "." if hetero else str(seq)
        rows.append(row)
    return written(Block(block.name, [replace(site, rows=rows)]))


def _letters(n: int) -> str:
    text = ""
    while n:
        n, last = divmod(n - 1, 26)
        text += chr(ord("A") + last)
    return text
