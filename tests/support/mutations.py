"""A number and some structure files → one damaged or hostile file, the same for the same number.

Damage is done at three levels: to the stored (compressed) bytes, to the text or msgpack inside, and
to what holds it (compression, archive, name). Nothing here uses the code that is tested.
"""

from __future__ import annotations

import gzip
import io
import random
import re
import struct
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgpack
import zstandard

from pipeline.commands.words import MEBIBYTE

BOMB_BYTES = 100 << 20
"""More than the size limit that the tests set (64 MiB), and little once compressed."""


@dataclass(frozen=True)
class Seed:
    """A real file to damage: its name and its stored bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Mutant:
    """A damaged file; `kind` says what was done, `name` are the bytes of a unique file name."""

    kind: str
    name: bytes
    data: bytes

    @property
    def is_archive(self) -> bool:
        """Whether its members, not the file, are the inputs."""
        return self.kind.startswith("tar-")


Random = random.Random
Damage = Callable[[Random, bytes], bytes]


def mutate(number: int, seeds: Sequence[Seed]) -> Mutant:
    """The mutant of this number.

    Parameters
    ----------
    number : int
    seeds : sequence of Seed
        Real files; the formats among them are equally likely, however many there are of each.
    """
    rng = Random(f"mutant {number}")
    wanted = rng.choice([".pdb", ".cif", ".bcif"])
    seed = rng.choice([s for s in seeds if wanted in s.name] or seeds)
    level = rng.choices(["stored", "content", "container"], weights=[3, 6, 2])[0]
    if level == "stored":
        kind = rng.choice(list(STORED))
        other = rng.choice(seeds).data
        data = STORED[kind](rng, seed.data) if kind != "splice" else splice(rng, seed.data, other)
        return Mutant(f"stored-{kind}", _name(rng, number, kind, seed.name), data)
    if level == "container":
        kind = rng.choice(list(CONTAINERS))
        data, suffix = CONTAINERS[kind](rng, seed)
        name = _name(rng, number, kind, seed.name) if suffix is None else None
        return Mutant(kind, name or f"m{number:05d}-{kind}{suffix}".encode(), data)
    content, pack = unpack(seed.data)
    if is_msgpack(content):
        kinds: dict[str, Damage] = {**MSGPACK, **BYTES}
    else:
        kinds = {**TEXT, **(CIF if is_cif(content) else {}), **BYTES}
    kind = rng.choice(list(kinds))
    if rng.random() < 0.08:
        other, _ = unpack(rng.choice(seeds).data)
        kind, content = "splice", splice(rng, content, other)
    else:
        content = kinds[kind](rng, content)
    return Mutant(f"content-{kind}", _name(rng, number, kind, seed.name), pack(content))


def unpack(data: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The content of a file, and what stores another content in the same way."""
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data), lambda c: gzip.compress(c, 1, mtime=0)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        content = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        return content, zstd
    return data, lambda c: c


def zstd(content: bytes) -> bytes:
    """With the check value that the command-line tool writes too."""
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)


def is_msgpack(content: bytes) -> bool:
    return content[:1] in (b"\x82", b"\x83", b"\x84", b"\xde", b"\xdf")


def is_cif(content: bytes) -> bool:
    return b"_atom_site." in content.lower()


# ---- bytes, stored or unpacked -----------------------------------------------------------------


def truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def truncate_near_the_end(rng: Random, data: bytes) -> bytes:
    return data[: max(0, len(data) - rng.randint(1, 40))]


def flip_bit(rng: Random, data: bytes) -> bytes:
    return flip(data, rng.randrange(8 * len(data))) if data else data


def flip(data: bytes, bit: int) -> bytes:
    """The data with one bit changed."""
    changed = bytearray(data)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def flip_many_bits(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([5, 50, len(data) // 100 + 1])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


_ODD_BYTES = [0, 9, 10, 13, 32, 34, 39, 59, 127, 128, 255]


def replace_bytes(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 30])):
        changed[rng.randrange(len(data))] = rng.choice(_ODD_BYTES)
    return bytes(changed)


def _chunk(rng: Random, data: bytes) -> tuple[int, int]:
    begin = rng.randrange(len(data))
    return begin, min(len(data), begin + rng.choice([1, 10, 80, 1000, 20_000]))


def delete_chunk(rng: Random, data: bytes) -> bytes:
    begin, end = _chunk(rng, data)
    return data[:begin] + data[end:]


def duplicate_chunk(rng: Random, data: bytes) -> bytes:
    begin, end = _chunk(rng, data)
    return data[:end] + data[begin:end] * rng.choice([1, 2, 20]) + data[end:]


def insert_garbage(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 16, 1000])) + data[at:]


def zero_chunk(rng: Random, data: bytes) -> bytes:
    begin, end = _chunk(rng, data)
    return data[:begin] + bytes(end - begin) + data[end:]


def append_garbage(rng: Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.choice([1, 7, 5000]))


def splice(rng: Random, first: bytes, second: bytes) -> bytes:
    """The beginning of one file and the end of another, of whatever formats."""
    a, b = rng.randrange(len(first) + 1), rng.randrange(len(second) + 1)
    if rng.random() < 0.5:  # between lines, if there are any
        a, b = first.rfind(b"\n", 0, a) + 1, second.rfind(b"\n", 0, b) + 1
    return first[:a] + second[b:]


BYTES: dict[str, Damage] = {
    "truncate": truncate,
    "truncate-near-the-end": truncate_near_the_end,
    "flip-bit": flip_bit,
    "flip-many-bits": flip_many_bits,
    "replace-bytes": replace_bytes,
    "delete-chunk": delete_chunk,
    "duplicate-chunk": duplicate_chunk,
    "insert-garbage": insert_garbage,
    "zero-chunk": zero_chunk,
    "append-garbage": append_garbage,
}
STORED: dict[str, Damage] = {**BYTES, "splice": lambda rng, data: data}


# ---- text --------------------------------------------------------------------------------------

NUMBERS = (
    b"nan NaN inf -inf 1e309 -1e309 1e38 99999999.999 -99999999.999 2147483647.5 4294967296 "
    b"18446744073709551616 0x10 1_000 1e-400 -0.000 . ? -- +-1 1.2.3 1e 12345678901234567890.5 "
    b"1,5 0.0000001 -2147483.649 2147483.648 999.9999 ---- ******** 1d3 \xd9\xa1\xd9\xa2"
).split()
_NUMBER = re.compile(rb"(?<![^\s])-?\d+(?:\.\d+)?(?=\s)")
_COORDINATE = re.compile(rb"-?\d+\.\d{3}")
_HEAD = re.compile(rb"^(?:ATOM|HETATM)", re.MULTILINE)


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True) or [b"\n"]


def _some(rng: Random, n: int) -> list[int]:
    return sorted(rng.sample(range(n), min(n, rng.choice([1, 3, 30]))))


def delete_lines(rng: Random, data: bytes) -> bytes:
    lines = _lines(data)
    begin = rng.randrange(len(lines))
    del lines[begin : begin + rng.choice([1, 2, 10, 500])]
    return b"".join(lines)


def duplicate_lines(rng: Random, data: bytes) -> bytes:
    lines = _lines(data)
    begin = rng.randrange(len(lines))
    end = begin + rng.choice([1, 2, 10, 500])
    return b"".join(lines[:end] + lines[begin:end] * rng.choice([1, 3]) + lines[end:])


def swap_lines(rng: Random, data: bytes) -> bytes:
    lines = _lines(data)
    for _ in range(rng.choice([1, 5, 50])):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def shuffle_lines(rng: Random, data: bytes) -> bytes:
    lines = _lines(data)
    begin = rng.randrange(len(lines))
    some = lines[begin : begin + 400]
    rng.shuffle(some)
    return b"".join(lines[:begin] + some + lines[begin + 400 :])


def odd_numbers(rng: Random, data: bytes) -> bytes:
    """Some numbers become others, or none at all."""
    places = list((_COORDINATE if rng.random() < 0.7 else _NUMBER).finditer(data))
    return _replace(rng, data, places, lambda old: rng.choice(NUMBERS))


def odd_numbers_in_place(rng: Random, data: bytes) -> bytes:
    """The same without moving a column."""
    places = list(_COORDINATE.finditer(data))
    return _replace(rng, data, places, lambda old: rng.choice(NUMBERS)[: len(old)].rjust(len(old)))


def _replace(
    rng: Random, data: bytes, places: Sequence[re.Match[bytes]], new: Callable[[bytes], bytes]
) -> bytes:
    if not places:
        return data + b"\n" + new(b"0.000") + b"\n"
    pieces, done = [], 0
    everywhere = rng.random() < 0.1
    for k in range(len(places)) if everywhere else _some(rng, len(places)):
        begin, end = places[k].span()
        pieces += [data[done:begin], new(data[begin:end])]
        done = end
    return b"".join([*pieces, data[done:]])


def blank_columns(rng: Random, data: bytes) -> bytes:
    """A column of characters becomes spaces in every atom line."""
    begin = rng.randrange(80)
    end = begin + rng.choice([1, 2, 8])
    return b"".join(
        line[:begin] + b" " * len(line[begin:end]) + line[end:] if _HEAD.match(line) else line
        for line in _lines(data)
    )


def shift_columns(rng: Random, data: bytes) -> bytes:
    """From some atom on the lines are one character longer or shorter."""
    lines = _lines(data)
    begin, at = rng.randrange(len(lines)), rng.randrange(60)
    cut = rng.random() < 0.5
    return b"".join(
        line if k < begin or len(line) <= at else line[:at] + b" " * (not cut) + line[at + cut :]
        for k, line in enumerate(lines)
    )


def long_line(rng: Random, data: bytes) -> bytes:
    lines = _lines(data)
    filler = rng.choice([b"X", b" ", b"1 ", b"'", b"A B\t"])
    lines.insert(rng.randrange(len(lines) + 1), filler * rng.choice([3000, MEBIBYTE]) + b"\n")
    return b"".join(lines)


def long_token(rng: Random, data: bytes) -> bytes:
    places = list(re.finditer(rb"\S+", data[: 1 << 18]))
    begin, end = rng.choice(places).span() if places else (0, 0)
    return data[:begin] + rng.choice([b"9", b"A", b"-"]) * rng.choice([300, 70_000]) + data[end:]


def no_line_ends(rng: Random, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice([b" ", b"", b"\r", b"\r\n", b"\x0b", b"\0", b"\x85"]))


def not_utf8(rng: Random, data: bytes) -> bytes:
    places = list(re.finditer(rb"[A-Za-z]{2,}", data[: 1 << 20]))
    wrong = [b"\xff\xfe", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80"]
    return _replace(rng, data, places, lambda old: rng.choice(wrong))


def binary_line(rng: Random, data: bytes) -> bytes:
    lines = _lines(data)
    lines.insert(rng.randrange(len(lines) + 1), rng.randbytes(200) + b"\n")
    return b"".join(lines)


def many_models(rng: Random, data: bytes) -> bytes:
    if is_cif(data):
        return data + data
    atoms = b"".join(line for line in _lines(data) if _HEAD.match(line))[:2000]
    numbers = rng.choice([range(1, 2000), [1] * 500, range(10**8, 10**8 + 300)])
    return b"".join(b"MODEL %8d\n%sENDMDL\n" % (n, atoms) for n in numbers)


def atoms_at_one_point(rng: Random, data: bytes) -> bytes:
    """Residues that have no frame."""
    return _COORDINATE.sub(lambda m: b"1.000".rjust(len(m[0])), data)


def far_away(rng: Random, data: bytes) -> bytes:
    """Coordinates at the ends of what a column, or an integer, holds."""
    value = rng.choice([b"9999.999", b"-999.999", b"2147483.647", b"-2147483.648", b"3e6"])
    places = list(_COORDINATE.finditer(data))
    return _replace(rng, data, places, lambda old: value)


TEXT: dict[str, Damage] = {
    "delete-lines": delete_lines,
    "duplicate-lines": duplicate_lines,
    "swap-lines": swap_lines,
    "shuffle-lines": shuffle_lines,
    "odd-numbers": odd_numbers,
    "odd-numbers-in-place": odd_numbers_in_place,
    "blank-columns": blank_columns,
    "shift-columns": shift_columns,
    "long-line": long_line,
    "long-token": long_token,
    "no-line-ends": no_line_ends,
    "not-utf8": not_utf8,
    "binary-line": binary_line,
    "many-models": many_models,
    "atoms-at-one-point": atoms_at_one_point,
    "far-away": far_away,
}


# ---- mmCIF -------------------------------------------------------------------------------------

_TAG = re.compile(rb"^_[\w.\[\]-]+[^\n]*\n", re.MULTILINE)
_ATOM_TAG = re.compile(rb"^_atom_site\.[^\n]*\n", re.MULTILINE | re.IGNORECASE)
_WORD = re.compile(rb"(?<=\s)[A-Za-z0-9.]+(?=\s)")
_KEYWORDS = [b"loop_", b"data_", b"data_again", b"stop_", b"save_x", b"global_", b"_atom_site.id"]


def _tags(rng: Random, data: bytes) -> list[re.Match[bytes]]:
    """Mostly those of the atom table."""
    tags = list((_ATOM_TAG if rng.random() < 0.8 else _TAG).finditer(data))
    return tags or list(re.finditer(rb"\n", data)) or [re.match(rb"", data)]  # type: ignore[list-item]


def drop_tag(rng: Random, data: bytes) -> bytes:
    """A loop with a column less than its rows have values."""
    begin, end = rng.choice(_tags(rng, data)).span()
    return data[:begin] + data[end:]


def double_tag(rng: Random, data: bytes) -> bytes:
    tag = rng.choice(_tags(rng, data))
    return data[: tag.end()] + tag[0] + data[tag.end() :]


def rename_tag(rng: Random, data: bytes) -> bytes:
    begin, end = rng.choice(_tags(rng, data)).span()
    new = [b"_atom_site.nonsense\n", b"_atom_site\n", b"_ATOM_SITE.Cartn_x\n", b"_a.b\n", b"_\n"]
    return data[:begin] + rng.choice(new) + data[end:]


def swap_tags(rng: Random, data: bytes) -> bytes:
    """Columns whose names say something else than what is in them."""
    a, b = sorted((rng.choice(_tags(rng, data)) for _ in range(2)), key=lambda m: m.start())
    if a.start() == b.start():
        return data
    return data[: a.start()] + b[0] + data[a.end() : b.start()] + a[0] + data[b.end() :]


def open_quote(rng: Random, data: bytes) -> bytes:
    """Quotes and text fields that are opened and never closed, or closed too early."""
    words = list(_WORD.finditer(data))
    at = rng.choice(words).start() if words else 0
    return data[:at] + rng.choice([b"'", b'"', b"\n;", b"\n;\n;", b"''", b"'a 'b"]) + data[at:]


def keyword_inside(rng: Random, data: bytes) -> bytes:
    words = list(_WORD.finditer(data))
    at = rng.choice(words).start() if words else 0
    gap = rng.choice([b" ", b"\n"])
    return data[:at] + rng.choice(_KEYWORDS) + gap + data[at:]


def values_missing(rng: Random, data: bytes) -> bytes:
    words = list(_WORD.finditer(data))
    return _replace(rng, data, words, lambda old: rng.choice([b"", b".", b"?"]))


def values_doubled(rng: Random, data: bytes) -> bytes:
    return _replace(rng, data, list(_WORD.finditer(data)), lambda old: old + b" " + old)


def second_atom_table(rng: Random, data: bytes) -> bytes:
    begin = data.lower().find(b"loop_\n_atom_site.")
    if begin < 0:
        return data + data
    return data + rng.choice([b"", b"#\n", b"data_other\n"]) + data[begin : begin + 20_000]


CIF: dict[str, Damage] = {
    "drop-tag": drop_tag,
    "double-tag": double_tag,
    "rename-tag": rename_tag,
    "swap-tags": swap_tags,
    "open-quote": open_quote,
    "keyword-inside": keyword_inside,
    "values-missing": values_missing,
    "values-doubled": values_doubled,
    "second-atom-table": second_atom_table,
}


# ---- BinaryCIF ---------------------------------------------------------------------------------

_SIZES = [0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63), 1e300, 0.5, None, "7", []]


def _document(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgpack.unpackb(content, strict_map_key=False)
    return found


def _atom_site(document: dict[str, Any]) -> dict[str, Any]:
    categories = document["dataBlocks"][0]["categories"]
    named = [c for c in categories if c["name"].lower() == "_atom_site"]
    return (named or categories)[0]


def _edit_column(change: Callable[[Random, dict[str, Any]], None]) -> Damage:
    def damage(rng: Random, content: bytes) -> bytes:
        document = _document(content)
        columns = _atom_site(document)["columns"]
        for k in _some(rng, len(columns)):
            change(rng, columns[k])
        return msgpack.packb(document)

    return damage


def _hostile_size(rng: Random, column: dict[str, Any]) -> None:
    """Sizes, origins and counts of one step of an encoding."""
    step = rng.choice(column["data"]["encoding"])
    numbers = [k for k, v in step.items() if isinstance(v, int | float)] or ["srcSize"]
    step[rng.choice(numbers)] = rng.choice(_SIZES)


def _encoding_order(rng: Random, column: dict[str, Any]) -> None:
    steps = column["data"]["encoding"]
    action = rng.choice(["shuffle", "drop", "double", "none", "unknown", "many"])
    if action == "shuffle":
        rng.shuffle(steps)
    elif action == "drop":
        del steps[rng.randrange(len(steps))]
    elif action == "double":
        steps.insert(0, steps[0])
    elif action == "none":
        steps.clear()
    elif action == "unknown":
        steps[0] = {"kind": rng.choice(["Zip", 7, None, "ByteArray"]), "type": 99}
    else:
        steps[:] = [steps[-1]] * 2000


def _run_lengths(rng: Random, column: dict[str, Any]) -> None:
    """A few bytes that stand for gigabytes."""
    n = rng.choice([1, 50, 5000])
    data = struct.pack(f"<{2 * n}i", *([7, rng.choice([2**31 - 1, -1, 10**8])] * n))
    column["data"] = {
        "data": data,
        "encoding": [
            {"kind": "RunLength", "srcType": 3, "srcSize": rng.choice([10, 2**31 - 1, 2**62])},
            {"kind": "ByteArray", "type": 3},
        ],
    }


def _strings(rng: Random, column: dict[str, Any]) -> None:
    """Offsets and indices that lead out of the string."""
    some = [-1, 0, 3, 1, 2**31 - 1, -(2**31)]
    numbers = [rng.choice(some) for _ in range(rng.choice([0, 2, 40]))]
    data = struct.pack(f"<{len(numbers)}i", *numbers)
    integers = [{"kind": "ByteArray", "type": 3}]
    column["data"] = {
        "data": data,
        "encoding": [
            {
                "kind": "StringArray",
                "dataEncoding": integers,
                "stringData": rng.choice(["", "ABCDEF", None, b"AB", "é" * 1000]),
                "offsetEncoding": integers,
                "offsets": rng.choice([data, b"", b"\0" * 7]),
            }
        ],
    }


def _wrong_type(rng: Random, column: dict[str, Any]) -> None:
    key = rng.choice(["data", "name", "mask", "data/data", "data/encoding", "type"])
    value = rng.choice([None, 7, "text", b"", [], {}, [[]], -1.5, {"data": b"", "encoding": []}])
    if "/" in key:
        column["data"][key.split("/")[1]] = value
    elif key == "type":
        for step in column["data"]["encoding"]:
            step["type"] = value
    else:
        column[key] = value


def _cut_data(rng: Random, column: dict[str, Any]) -> None:
    column["data"]["data"] = truncate(rng, column["data"]["data"])


def _mask(rng: Random, column: dict[str, Any]) -> None:
    n = rng.choice([0, 1, 100, 10**6])
    values = bytes(rng.choice([[0], [1], [2], [0, 1, 2, 250]])) * n
    column["mask"] = {"data": values, "encoding": [{"kind": "ByteArray", "type": 4}]}


def _nested(rng: Random, column: dict[str, Any]) -> None:
    inner: Any = 1
    for _ in range(rng.choice([50, 400])):
        inner = [inner]
    column["data"] = inner


def _factors(rng: Random, column: dict[str, Any]) -> None:
    column["data"] = {
        "data": struct.pack("<4i", 1, 2, -(2**31), 2**31 - 1) * 300,
        "encoding": [
            {
                "kind": "FixedPoint",
                "factor": rng.choice([0, 1e-300, 1e300, float("nan"), float("inf"), -1]),
                "srcType": rng.choice([32, 33, 3, 99]),
            },
            {"kind": "Delta", "origin": rng.choice([0, 2**31, -(2**63)]), "srcType": 3},
            {"kind": "ByteArray", "type": 3},
        ],
    }


def row_count(rng: Random, content: bytes) -> bytes:
    document = _document(content)
    _atom_site(document)["rowCount"] = rng.choice(_SIZES)
    return msgpack.packb(document)


def drop_columns(rng: Random, content: bytes) -> bytes:
    document = _document(content)
    columns = _atom_site(document)["columns"]
    for k in reversed(_some(rng, len(columns))):
        del columns[k]
    return msgpack.packb(document)


def double_columns(rng: Random, content: bytes) -> bytes:
    document = _document(content)
    category = _atom_site(document)
    if rng.random() < 0.5:
        category["columns"] *= 2
    else:
        document["dataBlocks"][0]["categories"].append(category)
    return msgpack.packb(document)


def swap_columns(rng: Random, content: bytes) -> bytes:
    document = _document(content)
    a, b = (rng.choice(_atom_site(document)["columns"]) for _ in range(2))
    a["name"], b["name"] = b["name"], a["name"]
    return msgpack.packb(document)


def no_blocks(rng: Random, content: bytes) -> bytes:
    document = _document(content)
    document["dataBlocks"] = rng.choice([[], None, {}, [{}], [None], [{"categories": None}], 5])
    return msgpack.packb(document)


def huge_headers(rng: Random, content: bytes) -> bytes:
    """msgpack headers that announce what never comes."""
    header = rng.choice([b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
    bomb = header + rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x10\x00\x00\x00"])
    at = rng.choice([0, content.find(b"dataBlocks") + 10, rng.randrange(len(content))])
    return content[:at] + bomb + content[at:]


def deep_nesting(rng: Random, content: bytes) -> bytes:
    at = content.find(b"dataBlocks") + 10
    return content[:at] + rng.choice([b"\x91", b"\x81\xa1a"]) * 100_000 + content[at:]


MSGPACK: dict[str, Damage] = {
    "row-count": row_count,
    "drop-columns": drop_columns,
    "double-columns": double_columns,
    "swap-columns": swap_columns,
    "no-blocks": no_blocks,
    "huge-headers": huge_headers,
    "deep-nesting": deep_nesting,
    "hostile-size": _edit_column(_hostile_size),
    "encoding-order": _edit_column(_encoding_order),
    "run-lengths": _edit_column(_run_lengths),
    "strings": _edit_column(_strings),
    "wrong-type": _edit_column(_wrong_type),
    "cut-data": _edit_column(_cut_data),
    "mask": _edit_column(_mask),
    "nested": _edit_column(_nested),
    "factors": _edit_column(_factors),
}


# ---- what holds it -----------------------------------------------------------------------------

Container = Callable[[Random, Seed], "tuple[bytes, str | None]"]
"""Bytes, and the end of the file's name (None: any)."""


@lru_cache(maxsize=32)
def bomb(what: str, packing: str) -> bytes:
    """A few hundred kilobytes that unpack to `BOMB_BYTES`."""
    unit, head = _BOMBS[what]
    content = head + unit * ((BOMB_BYTES - len(head)) // len(unit) + 1)
    if packing == "zstd":
        return zstd(content)
    packed = gzip.compress(content, 1, mtime=0)
    return gzip.compress(packed, 1, mtime=0) if packing == "gzip-twice" else packed


_BOMBS = {
    "zeros": (bytes(4096), b""),
    "spaces": (b" " * 4095 + b"\n", b""),
    "pdb": (
        b"ATOM      1  CA  ALA A   1      11.000  12.000  13.000  1.00  0.00           C  \n",
        b"HEADER    HYDROLASE                               01-JAN-00   1ABC\n",
    ),
    "cif": (
        b"ATOM 1 C CA . ALA A 1 1 ? 11.000 12.000 13.000 1.00 0.00 1 A 1\n",
        b"data_1ABC\nloop_\n"
        + b"".join(
            b"_atom_site.%s\n" % tag
            for tag in (
                b"group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
                b"label_entity_id label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy "
                b"B_iso_or_equiv auth_seq_id auth_asym_id pdbx_PDB_model_num"
            ).split()
        ),
    ),
    "cif-loops": (b"loop_\n_a.b\n1\n2\n#\n", b"data_x\n"),
    "msgpack": (b"\xc0" * 4096, b"\x83\xa7version\xa50.3.0\xaadataBlocks\xdd\x06\x00\x00\x00"),
}


def make_bomb(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    what = rng.choice(list(_BOMBS))
    packing = rng.choice(["gzip", "gzip", "zstd", "gzip-twice"])
    suffix = {"cif": ".cif", "cif-loops": ".cif", "msgpack": ".bcif"}.get(what, ".pdb")
    return bomb(what, packing), suffix + (".zst" if packing == "zstd" else ".gz")


def packed_again(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    data = seed.data
    for _ in range(rng.choice([1, 2, 5])):
        data = zstd(data) if rng.random() < 0.4 else gzip.compress(data, 1, mtime=0)
    return data, None


def several_members(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    """The content in pieces, some of them empty; correct, if nobody loses a piece."""
    content, _ = unpack(seed.data)
    at = rng.randrange(len(content) + 1)
    pieces = [content[:at], *[b""] * rng.choice([0, 3, 20_000]), content[at:]]
    if rng.random() < 0.5:
        return b"".join(map(zstd, pieces)), None
    return b"".join(gzip.compress(p, 1, mtime=0) for p in pieces), None


def wrong_check(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    content, _ = unpack(seed.data)
    packed = gzip.compress(content, 1, mtime=0)
    length = rng.choice([len(content), 1])
    return packed[:-8] + struct.pack("<II", rng.getrandbits(32), length), None


def wrong_extension(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    suffixes = [".pdb", ".cif", ".bcif", ".ent.gz", ".cif.gz", ".bcif.gz", ".pdb.zst", ".cif.zst"]
    return seed.data, rng.choice([*suffixes, ".txt", ".json", ".gz", ".png", "", ".pdb.gz.gz"])


def empty(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    return rng.choice([b"", b"\n", b" \n\n", gzip.compress(b"", mtime=0), zstd(b"")]), None


def tiny(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    content, _ = unpack(seed.data)
    data = rng.choice([seed.data, content])[: rng.randint(1, 30)]
    return rng.choice([data, b"data_", b"loop_", b"ATOM", b"\x83", b"\x1f\x8b", b"\x28\xb5"]), None


def garbage(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    magic = rng.choice([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"data_x\n", b"ATOM  ", b"\x83"])
    return magic + rng.randbytes(rng.choice([10, 1000, 100_000])), None


def something_else(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    known = [
        b'{"a": [1, 2, 3]}',
        b"<html><body>404 Not Found</body></html>\n" * 20,
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b">1ABC:A\nMKVLAAGIVG\n",
        b"HEADER\n" * 5,
        b"REMARK nothing\nEND\n",
        b"data_1ABC\n#\n",
        b"data_\nloop_\n",
    ]
    return rng.choice(known), None


def tar_of_it(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    """An archive of the file and a damaged copy, whole or itself damaged."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (
            ("a/" + seed.name, seed.data),
            ("b/" + seed.name, truncate(rng, seed.data)),
            ("c/empty.pdb", b""),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = out.getvalue()
    if rng.random() < 0.5:
        damage = rng.choice([truncate, flip_many_bits, delete_chunk, zero_chunk])
        data = damage(rng, data)
    packing = rng.choice(["", ".gz", ".zst"])
    data = {"": data, ".gz": gzip.compress(data, 1, mtime=0), ".zst": zstd(data)}[packing]
    if packing and rng.random() < 0.3:
        data = rng.choice([truncate, flip_bit])(rng, data)
    return data, ".tar" + packing


def tar_without_name(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    """An archive that is called a structure."""
    data, _ = tar_of_it(rng, seed)
    return data, None


def tar_bomb(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    what, packing = rng.choice(["zeros", "pdb"]), rng.choice(["gzip", "zstd"])
    return bomb(what, packing), ".tar" + {"gzip": ".gz", "zstd": ".zst"}[packing]


def tar_in_tar(rng: Random, seed: Seed) -> tuple[bytes, str | None]:
    inner, suffix = tar_of_it(rng, seed)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(f"inner{suffix}")
        member.size = len(inner)
        tar.addfile(member, io.BytesIO(inner))
    return out.getvalue(), ".tar"


CONTAINERS: dict[str, Container] = {
    "bomb": make_bomb,
    "packed-again": packed_again,
    "several-members": several_members,
    "wrong-check": wrong_check,
    "wrong-extension": wrong_extension,
    "empty": empty,
    "tiny": tiny,
    "garbage": garbage,
    "something-else": something_else,
    "tar-of-it": tar_of_it,
    "archive-without-name": tar_without_name,
    "tar-bomb": tar_bomb,
    "tar-in-tar": tar_in_tar,
}

_ODD_NAMES = [
    b"with space",
    b"quote'\"",
    b"new\nline",
    b"back\\slash",
    b"not-utf8-\xff\xfe",
    "émoji-\N{DNA DOUBLE HELIX}".encode(),
    b"a::b",
    b"semi;colon&|$(x)",
    b"x" * 200,
    b"--option",
    b"tab\there",
    b"..",
]


def _name(rng: Random, number: int, kind: str, original: str) -> bytes:
    suffix = original[original.index(".") :] if "." in original else ""
    if rng.random() < 0.1:
        odd = rng.choice(_ODD_NAMES)
        return odd + f"-{number:05d}{suffix}".encode()[-50:]
    return f"m{number:05d}-{kind}{suffix}".encode()
