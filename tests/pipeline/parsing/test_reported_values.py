"""Files like those that users report, of the kind *values, tokens and names*: the right reading."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.parsing import NotAStructure, ParsedEntry, read_chains
from pipeline.residues import sequence_string
from pipeline.sources import decompress
from tests.support.places import STRUCTURES

REPORTED = STRUCTURES / "reported"
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"

pytestmark = pytest.mark.skipif(not REPORTED.is_dir(), reason="needs the shared structures")


def entry(name: str) -> ParsedEntry:
    return read_chains(decompress((REPORTED / name).read_bytes(), 2**30), name.partition(".")[0])


@pytest.mark.parametrize(
    ("name", "sequence", "flags"),
    [
        ("F5_parmed_1ubi.cif.gz", UBIQUITIN, []),
        ("F9_serial6_mixed.pdb.gz", UBIQUITIN[:20], ["wide_records:6"]),
        ("F10_hex.pdb.gz", UBIQUITIN[:20], []),
        ("F11_icode_in_auth_seq.cif.gz", "MQIFVKTL", []),
        ("F12_hie_helium.pdb.gz", "HPPCCLYGKCRRYPGCSSASCCQR", []),
        ("F13_pymmcif_bytes.bcif.gz", "HPPCCLYGKCRRYPGCSSASCCQR", []),
    ],
)
def test_a_reported_file_is_one_whole_chain(name: str, sequence: str, flags: list[str]):
    found = entry(name)
    (only,) = found.chains
    assert sequence_string(only.aatype) == sequence
    assert only.resolved.all()
    assert only.n_bad_atoms == 0
    assert found.flags == flags


def test_numbers_and_codes_of_reported_files_are_those_meant():
    codes = entry("F11_icode_in_auth_seq.cif.gz").chains[0]
    numbers = [51, 52, 52, 52, 53, 54, 55, 56]
    assert codes.auth_seq_id.tolist() == numbers
    assert bytes(codes.ins_code) == b"\0\0AB\0\0\0\0"
    hexadecimal = entry("F10_hex.pdb.gz").chains[0]
    assert hexadecimal.auth_seq_id.tolist() == list(range(9_997, 10_017))


@pytest.mark.parametrize("way", ["exponents", "numbers_with_su", "quoted"])
def test_ways_of_writing_one_entry_give_the_same_rows(way: str):
    plain, other = entry("M_plain.cif.gz"), entry(f"M_{way}.cif.gz")
    assert other.metadata == plain.metadata
    for a, b in zip(plain.chains, other.chains, strict=True):
        for name in a.__slots__:
            if name != "entry_id":
                assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_a_pqr_file_is_skipped_by_that_name():
    with pytest.raises(NotAStructure, match="PQR") as caught:
        entry("F8_1ubi_amber.pqr.gz")
    assert caught.value.reason == "not-a-structure"
