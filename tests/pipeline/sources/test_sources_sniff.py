"""The content decides what a file is."""

import time

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import (
    HEAD_BYTES,
    describe_content,
    discover,
    peek,
    read_source,
    sniff,
)
from tests.support.places import STRUCTURES

BOM = b"\xef\xbb\xbf"
ATOM = b"ATOM      1  N   MET A   1      27.340  24.430   2.614  1.00  9.67           N\n"


@pytest.mark.parametrize(
    "head",
    [
        b"data_1ABC\n#\n",
        b"DATA_1abc\r\n",
        b"data_",
        BOM + b"data_1ABC\n",
        b"\r\n\r\ndata_1CBS\r\n",
        b"#\\#CIF_1.1\n# mmCIF\ndata_1ake.cif\n",
        b"# " + b"x" * 5000 + b"\n" + b"#" * 5000 + b"\n  data_x",
        b"loop_\n    _pdbx_item_enumeration.name\n",
        b"global_\n",
        b"save_atom_site\n",
        b"_entry.id 1ABC\n",
    ],
)
def test_cif_text_is_known_behind_comments_and_blanks(head):
    assert sniff(head) == "cif"


@pytest.mark.parametrize(
    "head",
    [
        ATOM,
        BOM + ATOM,
        b"\n\n" + ATOM.replace(b"\n", b"\r\n"),
        b"HEADER    HYDROLASE\n",
        b"REMARK * \n" * 3 + ATOM,
        b"USER  MOD reduce\nHEADER\n",
        b"MODEL 1\n" + ATOM,
        b"written by a program of mine\nversion 3\n" + ATOM,
        b"HETATM12345  C1  EST A 600       0.867  53.138 165.015\n",
        b"CRYST1   39.295   47.486   67.585  90.00  90.00  90.00 P 21 21 21    4\n",
        b"COMPND\nSOURCE\n",
    ],
)
def test_pdb_text_is_known_behind_blanks_and_a_few_foreign_lines(head):
    assert sniff(head) == "pdb"


@pytest.mark.parametrize("first", ["encoder", "version", "dataBlocks", "something"])
def test_binary_cif_is_known_whatever_key_comes_first(first):
    content = {first: "x", "encoder": "me", "version": "0.3.0", "dataBlocks": [{"header": "1ABC"}]}
    assert sniff(msgpack.packb(content)) == "bcif"
    assert sniff(msgpack.packb(content)[:20]) == ("bcif" if first != "something" else None)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "empty"),
        (b" \n\t\n", "white space"),
        (bytes(5000), "zeros"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"<?xml version='1.0'?><PDBx:datablock>", "XML"),
        (b'{"confidence": [1]}', "JSON"),
        (b">1abc_A\nMKV\n", "FASTA"),
        (b"==== Secondary Structure Definition by DSSP\nHEADER  X\nCOMPND  Y\nSOURCE  Z\n", "DSSP"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"PK\x03\x04", "zip"),
        (b"1abc.pdb".ljust(257, b"\0") + b"ustar\x0000", "tar archive"),
        (msgpack.packb({"mmtfVersion": "1.0", "numAtoms": 3}), "MMTF"),
        (b"SOURCE code of a program\n" + b"that does many things\n" * 40, "text"),
        (b"path,pdb_id,format\n", "text"),
        ("data_1ABC\n".encode("utf-16"), "UTF-16"),
        (b"ELF\0\1\2", "binary"),
        (b"\x1f\x8b\x08", "more than twice"),
    ],
)
def test_what_is_no_structure_is_named(head, what):
    assert sniff(head) is None
    assert what in describe_content(head)


@given(st.binary(max_size=2000))
def test_any_bytes_are_sniffed_and_described(head):
    assert sniff(head) in (None, "bcif", "cif", "pdb")
    assert describe_content(head)


@pytest.mark.parametrize(
    "head",
    [
        b" " * HEAD_BYTES,
        b"#" * HEAD_BYTES,
        b"\n#" * (HEAD_BYTES // 2),
        b"_" + b"a" * HEAD_BYTES,
        b"_" + b"-_" * (HEAD_BYTES // 2),
        b"ATOM  " + b"1" * HEAD_BYTES,
        b"ATOM  " + b"1." * (HEAD_BYTES // 2),
        b"\n" * HEAD_BYTES,
        b"\xdf" * HEAD_BYTES,
    ],
)
def test_hostile_beginnings_cost_little_time(head):
    started = time.perf_counter()
    sniff(head)
    describe_content(head)
    assert time.perf_counter() - started < 0.5


# The suffix of these real files lies.
LYING = {"empty__empty.pdb.gz": None, "structure_factors_not_model__r5wkdsf.ent.gz": "cif"}


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="no structure files beside the checkout")
@pytest.mark.parametrize("folder", ["edge", "afdb", "pairs"])
def test_real_files_are_what_their_suffix_says(folder):
    found = discover(STRUCTURES / folder)
    assert found.files
    assert not found.problems
    for file in found.files:
        head = peek(read_source(file, found.root, 1 << 30).data, HEAD_BYTES)
        assert sniff(head) == LYING.get(file.path, file.suffix_format), file.name
