"""BinaryCIF: every encoding, and files that ask for more memory than they are worth."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from biotite.structure.io import pdbx
from biotite.structure.io.pdbx import encoding as enc
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parsing import ParseError, read_chains
from pipeline.parsing.atom_table import ABSENT
from pipeline.parsing.bcif import MAX_ROWS, BinaryCif
from tests.support.structure_text import chain, cif_text, entity, read

_TYPES = {"i1": 1, "i2": 2, "i4": 3, "u1": 4, "u2": 5, "u4": 6, "f4": 32, "f8": 33}


def packed(columns: dict[str, Any], n: int, category: str = "_atom_site") -> bytes:
    """A file of one category, from finished columns."""
    block = {"header": "X", "categories": [{"name": category, "rowCount": n, "columns": []}]}
    for name, column in columns.items():
        block["categories"][0]["columns"].append({"name": name, "mask": None, **column})
    return msgpack.packb({"encoder": "test", "version": "0.3.0", "dataBlocks": [block]})


def byte_array(values: np.ndarray) -> tuple[bytes, list[dict[str, Any]]]:
    kind = values.dtype.str[1:]
    return values.tobytes(), [{"kind": "ByteArray", "type": _TYPES[kind]}]


def column(values: np.ndarray, *steps: dict[str, Any], mask: np.ndarray | None = None):
    data, encoding = byte_array(values)
    found: dict[str, Any] = {"data": {"data": data, "encoding": [*steps, *encoding]}}
    if mask is not None:
        data, encoding = byte_array(mask)
        found["mask"] = {"data": data, "encoding": encoding}
    return found


def table_of(columns: dict[str, Any], n: int):
    return BinaryCif(packed(columns, n), {}).table("atom_site")


def fixed(columns: dict[str, Any], n: int, places: int = 3):
    (values,), (valid,), exact = table_of(columns, n).fixed(["x"], places, slice(None))
    return values.tolist(), valid.tolist(), exact


# ---- encodings ----------------


@pytest.mark.parametrize("kind", list(_TYPES))
def test_byte_arrays_of_every_type_are_read(kind):
    values = np.array([0, 1, 100], f"<{kind}")
    assert fixed({"x": column(values)}, 3)[0] == [0, 1000, 100000]


def test_fixed_point_of_thousandths_is_read_without_floating_point():
    values = np.array([-12345, 1, 2147483], "<i4")
    step = {"kind": "FixedPoint", "factor": 1000, "srcType": 33}
    assert fixed({"x": column(values, step)}, 3) == ([-12345, 1, 2147483], [True] * 3, True)


def test_fixed_point_of_other_factors_is_rounded_as_text_would_be():
    values = np.array([10005, 10015, -10025, 10010], "<i4")  # 1.0005 1.0015 -1.0025 1.0010
    step = {"kind": "FixedPoint", "factor": 10000, "srcType": 33}
    assert fixed({"x": column(values, step)}, 4) == ([1000, 1002, -1002, 1001], [True] * 4, False)
    hundredths = {"kind": "FixedPoint", "factor": 100, "srcType": 33}
    assert fixed({"x": column(np.array([1234], "<i4"), hundredths)}, 1) == ([12340], [True], True)


def test_interval_quantization_run_length_delta_and_packing_are_read():
    quantized = {
        "kind": "IntervalQuantization",
        "min": -1.0,
        "max": 1.0,
        "numSteps": 5,
        "srcType": 33,
    }
    assert fixed({"x": column(np.array([0, 2, 4], "<i4"), quantized)}, 3)[0] == [-1000, 0, 1000]
    runs = {"kind": "RunLength", "srcType": 3, "srcSize": 5}
    assert fixed({"x": column(np.array([7, 3, -2, 2], "<i4"), runs)}, 5, 0)[0] == [7, 7, 7, -2, -2]
    delta = {"kind": "Delta", "origin": 100, "srcType": 3}
    assert fixed({"x": column(np.array([0, 1, -5], "<i4"), delta)}, 3, 0)[0] == [100, 101, 96]
    packing = {"kind": "IntegerPacking", "byteCount": 1, "srcSize": 4, "isUnsigned": False}
    cells = np.array([127, 127, 6, -128, -2, 0, 127, 0], "<i1")
    assert fixed({"x": column(cells, packing)}, 4, 0)[0] == [260, -130, 0, 127]
    unsigned = {"kind": "IntegerPacking", "byteCount": 1, "srcSize": 2, "isUnsigned": True}
    assert fixed({"x": column(np.array([255, 255, 1, 3], "<u1"), unsigned)}, 2, 0)[0] == [511, 3]


def strings(words: list[str], indices: list[int], mask: np.ndarray | None = None):
    offsets = np.cumsum([0, *map(len, words)]).astype("<i4")
    data, index_encoding = byte_array(np.array(indices, "<i4"))
    offset_data, offset_encoding = byte_array(offsets)
    step = {
        "kind": "StringArray",
        "dataEncoding": index_encoding,
        "stringData": "".join(words),
        "offsetEncoding": offset_encoding,
        "offsets": offset_data,
    }
    found: dict[str, Any] = {"data": {"data": data, "encoding": [step]}}
    if mask is not None:
        data, encoding = byte_array(mask)
        found["mask"] = {"data": data, "encoding": encoding}
    return found


def test_strings_are_names_numbers_or_absent():
    mask = np.array([0, 0, 0, 2], "<u1")
    table = table_of({"x": strings(["CA", "12", "."], [0, 1, -1, 0], mask)}, 4)
    (names,) = table.names(["x"], slice(None))
    assert names.tolist() == [b"CA", b"12", b"", b""]
    (numbers,) = table.integers(["x"], slice(None))
    assert numbers.tolist() == [ABSENT, 12, ABSENT, ABSENT]
    assert table.text("x") == ["CA", "12", None, None]


def test_masked_and_infinite_numbers_are_no_numbers():
    mask = np.array([0, 1, 0, 0], "<u1")
    values, valid, _ = fixed({"x": column(np.array([1.0, 2.0, np.nan, np.inf]), mask=mask)}, 4)
    assert (values, valid) == ([1000, 0, 0, 0], [True, False, False, False])


NUMBERS = st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.sampled_from([1, 2]), st.booleans())
def test_what_biotite_encodes_is_decoded(numbers, size, small):
    values = np.array([v % 700 - 350 if small else v for v in numbers], np.int32)
    ways = [
        [enc.ByteArrayEncoding()],
        [enc.RunLengthEncoding(), enc.ByteArrayEncoding()],
        [enc.DeltaEncoding(), enc.ByteArrayEncoding()] if small else [enc.ByteArrayEncoding()],
    ]
    if small:
        ways.append(
            [
                enc.DeltaEncoding(),
                enc.RunLengthEncoding(),
                enc.IntegerPackingEncoding(size),
                enc.ByteArrayEncoding(),
            ]
        )
    for way in ways:
        data = pdbx.BinaryCIFData(values, way)
        file = pdbx.BinaryCIFFile(
            {
                "X": pdbx.BinaryCIFBlock(
                    {"atom_site": pdbx.BinaryCIFCategory({"x": pdbx.BinaryCIFColumn(data)})}
                )
            }
        )
        out = io.BytesIO()
        file.write(out)
        table = BinaryCif(out.getvalue(), {}).table("atom_site")
        (found,), (valid,), _ = table.fixed(["x"], 0, slice(None))
        assert valid.all()
        assert found.tolist() == values.tolist()


def as_bcif(text: str) -> bytes:
    """An mmCIF file through biotite's encoder."""
    source = pdbx.CIFFile.read(io.StringIO(text))
    block = pdbx.BinaryCIFBlock()
    for name, category in source.block.items():
        block[name] = pdbx.BinaryCIFCategory({k: v.as_array(str) for k, v in category.items()})
    out = io.BytesIO()
    pdbx.BinaryCIFFile({"TEST": block}).write(out)
    return out.getvalue()


def test_a_structure_is_the_same_as_text_and_in_binary():
    text = cif_text(chain(["ALA", "SER", "GLY"]), before=entity(["MET", "ALA", "SER", "GLY"][1:]))
    one, other = read(text), read_chains(as_bcif(text), "test")
    assert other.format == "bcif"
    assert np.array_equal(one.chains[0].coords, other.chains[0].coords)
    assert one.chains[0].entity_sequence == other.chains[0].entity_sequence == "ASG"


# ---- hostile files ----------------


def refused(data: bytes) -> str:
    """Why the file is refused; in less memory than 200 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(ParseError) as caught:
            read_chains(data, "x")
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    return caught.value.reason


COORDINATES = ("Cartn_x", "Cartn_y", "Cartn_z", "label_atom_id", "label_comp_id")


@pytest.mark.parametrize("n", [10**6, MAX_ROWS + 1, 2**62, -1])
def test_a_table_of_more_rows_than_bytes_is_refused(n):
    runs = {"kind": "RunLength", "srcType": 3, "srcSize": n}
    value = np.array([1, min(abs(n), 2**31 - 1)], "<i4")
    assert refused(packed({c: column(value, runs) for c in COORDINATES}, n)) == "too-many-rows"


def test_runs_that_do_not_add_up_are_refused():
    runs = {"kind": "RunLength", "srcType": 3, "srcSize": 3}
    for values in ([1, 2**31 - 1], [1, -5, 1, 8], [1, 2], [1]):
        data = packed({c: column(np.array(values, "<i4"), runs) for c in COORDINATES}, 3)
        assert refused(data) == "malformed-bcif"


def test_a_word_of_a_megabyte_is_not_copied_to_every_row():
    n = 2000
    mask = np.zeros(n, "<u1")
    columns = {c: column(np.arange(n, dtype="<f8")) for c in COORDINATES[:3]}
    columns |= {c: strings(["A" * 10**6, "B"], [1] * n, mask) for c in COORDINATES[3:]}
    assert refused(packed(columns, n)) == "overlong-value"


def test_strings_that_overlap_are_refused():
    names = strings(["A" * 1000], [0] * 500)
    step = names["data"]["encoding"][0]
    step["offsets"] = np.array([0, 1000] * 5000, "<i4").tobytes()
    columns = {c: column(np.arange(500, dtype="<f8")) for c in COORDINATES[:3]}
    assert (
        refused(packed({**columns, **{c: names for c in COORDINATES[3:]}}, 500)) == "malformed-bcif"
    )


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "FixedPoint", "factor": 0, "srcType": 33},
        {"kind": "IntervalQuantization", "min": 0.0, "max": 1.0, "numSteps": 1, "srcType": 33},
        {"kind": "NoSuchKind"},
        {"kind": ["FixedPoint"]},
        {},
        {"kind": "Delta", "origin": "x", "srcType": 3},
    ],
)
def test_a_senseless_encoding_is_an_error_with_a_reason(step):
    columns = {c: column(np.array([1], "<i4"), step) for c in COORDINATES}
    assert refused(packed(columns, 1)) in ("malformed-bcif", "unreadable-coordinates")


def test_indices_that_are_no_whole_numbers_or_point_outside_are_refused():
    columns = {c: column(np.array([1.0])) for c in COORDINATES[:3]}
    for index in (5, -7):
        data = packed({**columns, **{c: strings(["CA"], [index]) for c in COORDINATES[3:]}}, 1)
        assert refused(data) == "malformed-bcif"
    broken = strings(["CA"], [0])
    broken["data"]["encoding"][0]["dataEncoding"].insert(0, {"kind": "FixedPoint", "factor": 2})
    data = packed({**columns, **{c: broken for c in COORDINATES[3:]}}, 1)
    assert refused(data) == "malformed-bcif"


def test_every_truncation_of_a_file_is_refused():
    data = as_bcif(cif_text(chain(["ALA", "GLY"])))
    for at in range(30, len(data), 97):
        with pytest.raises(ParseError):
            read_chains(data[:at], "x")
