"""A value that a column of mmCIF lacks is read from its twin, ``auth_`` for ``label_``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from random import Random

import numpy as np
import pytest

from pipeline.chain import Chain
from pipeline.parsing import ParsedEntry, read_chains
from pipeline.sources import decompress
from tests.support import rewriters
from tests.support.places import EXAMPLES
from tests.support.rewriters import Block, Table

WRITTEN = pytest.mark.parametrize(
    "way",
    [
        rewriters.as_the_archive,
        rewriters.one_blank,
        rewriters.everything_indented,
        rewriters.binary_all_strings,
        rewriters.binary_masks_everywhere,
    ],
    ids=lambda way: way.__name__,
)
FIELDS = [f.name for f in fields(Chain) if f.name != "metadata"]


def block() -> Block:
    text = decompress((EXAMPLES / "1a8o.cif.gz").read_bytes(), 2**30).decode()
    return rewriters.block_of_cif(text)


def parsed(written: str | bytes) -> ParsedEntry:
    return read_chains(written.encode() if isinstance(written, str) else written, "test")


def with_words(tag: str, change: Callable[[int, str], str]) -> Block:
    """The entry, one column of its atom table changed by row and word."""

    def changed(table: Table) -> Table:
        k = table.tags.index(tag)
        rows = [
            [*row[:k], change(number, row[k]), *row[k + 1 :]]
            for number, row in enumerate(table.rows)
        ]
        return Table(table.name, table.tags, rows)

    return block().with_table("atom_site", changed)


def differing(one: ParsedEntry, other: ParsedEntry) -> list[str]:
    assert len(one.chains) == len(other.chains) == 1
    a, b = one.chains[0], other.chains[0]
    return [name for name in FIELDS if not np.array_equal(getattr(a, name), getattr(b, name))]


@WRITTEN
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("tag", ["label_comp_id", "label_atom_id"])
def test_a_name_that_is_not_given_is_that_of_the_twin(tag, every, way):
    plain = block()
    n = len(plain["atom_site"].rows)
    found = parsed(
        way(with_words(tag, lambda k, word: word if k % every else "?."[k % 2]), Random(0))
    )
    assert not differing(parsed(way(plain, Random(0))), found)
    assert found.flags == [f"other_column_read:{tag}:{len(range(0, n, every))}"]


@WRITTEN
def test_a_chain_without_the_authors_id_has_none(way):
    """So gemmi and Biopython write the chain of a PDB file whose id is blank."""
    found = parsed(way(with_words("auth_asym_id", lambda k, _: "?."[k % 2]), Random(0)))
    assert [(c.auth_asym_id, c.label_asym_id) for c in found.chains] == [("_", "A")]
    assert found.flags == []


def test_names_that_neither_column_gives_are_not_told_as_read_elsewhere():
    found = parsed(rewriters.as_the_archive(with_words("label_alt_id", lambda *_: "?"), Random(0)))
    assert found.flags == []


def without_numbers(*, but: int = 0) -> Block:
    """The author's number is not given where the label's is, but for every `but`-th residue."""
    labels = block()["atom_site"]
    label = [row[labels.column("label_seq_id")] for row in labels.rows]

    def is_kept(k: int) -> bool:
        return label[k] == "." or bool(but and int(label[k]) % but == 0)

    return with_words("auth_seq_id", lambda k, word: word if is_kept(k) else "?")


@WRITTEN
def test_an_author_number_that_is_not_given_goes_on_as_the_labels_do(way):
    plain = parsed(way(block(), Random(0)))
    found = parsed(way(without_numbers(but=7), Random(0)))
    assert plain.chains[0].auth_seq_id[0] != 1
    assert not differing(plain, found)
    assert [flag.rpartition(":")[0] for flag in found.flags] == ["other_column_read:auth_seq_id"]


@WRITTEN
def test_without_any_author_number_the_labels_are_the_numbers(way):
    plain = parsed(way(block(), Random(0)))
    found = parsed(way(without_numbers(), Random(0)))
    assert differing(plain, found) == ["auth_seq_id"]
    assert found.chains[0].auth_seq_id.tolist() == plain.chains[0].residue_index.tolist()


@WRITTEN
@pytest.mark.parametrize("tag", ["auth_seq_id", "label_seq_id"])
def test_numbers_as_pandas_writes_them_beside_absent_ones_are_read(tag, way):
    floats = with_words(tag, lambda _, word: word if word in "?." else f"{word}.0")
    plain, found = (parsed(way(some, Random(0))) for some in (block(), floats))
    assert not differing(plain, found)
    assert found.flags == []
