"""gzip and zstd: the whole stream or an error, and never more memory than allowed."""

import gzip
import io
import random
import struct
import time
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources import CorruptStream, SourceError, TooLarge, TruncatedStream, decompress, peek
from pipeline.sources.decompress import iter_decompressed
from tests.support.places import STRUCTURES

MANY = 1 << 30
TEXT = b"".join(
    b"ATOM  %5d  CA  ALA A%4d    %8.3f   1.000   2.000\n" % (i, i, i * 0.37) for i in range(900)
)


NO_CONTENT = gzip.compress(b"", mtime=0)


def zstd(data, *, checksum=True, content_size=True):
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=content_size)
    if content_size:
        return compressor.compress(data)
    stream = compressor.compressobj()
    return stream.compress(data) + stream.flush()


def bgzf(data, block=5000):
    blocks = [gzip.compress(data[i : i + block]) for i in range(0, len(data), block)]
    return b"".join(blocks) + NO_CONTENT


def stored(data):
    compressor = zlib.compressobj(0, wbits=31)
    return compressor.compress(data) + compressor.flush()


def with_header_fields(data):
    """A gzip member with extra field, name, comment and header CRC."""
    plain = gzip.compress(data)
    header = b"\x1f\x8b\x08\x1e" + plain[4:10]
    header += struct.pack("<H", 5) + b"extra" + b"1abc.cif\0" + b"a comment\0"
    return header + struct.pack("<H", zlib.crc32(header) & 0xFFFF) + plain[10:]


SKIPPABLE = b"\x52\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc"
PACKED = {
    "plain": TEXT,
    "gzip": gzip.compress(TEXT),
    "gzip stored": stored(TEXT),
    "gzip with all header fields": with_header_fields(TEXT),
    "gzip members": gzip.compress(TEXT[:20000]) + gzip.compress(TEXT[20000:]),
    "gzip blocks": bgzf(TEXT),
    "gzip padded": gzip.compress(TEXT) + bytes(1000),
    "zstd": zstd(TEXT),
    "zstd of unknown size": zstd(TEXT, content_size=False),
    "zstd without checksum": zstd(TEXT, checksum=False),
    "zstd frames": zstd(TEXT[:20000]) + SKIPPABLE + zstd(TEXT[20000:], content_size=False),
    "zstd after a skippable frame": SKIPPABLE + zstd(TEXT),
    "zstd padded": zstd(TEXT) + bytes(7),
    "gzip in gzip": gzip.compress(gzip.compress(TEXT)),
    "gzip in zstd": zstd(bgzf(TEXT)),
}


@pytest.mark.parametrize("kind", PACKED)
def test_every_way_of_packing_gives_the_same_bytes(kind):
    packed = PACKED[kind]
    assert decompress(packed, len(TEXT)) == TEXT
    for n in (1, 80, 4096, len(TEXT), len(TEXT) + 1):
        assert peek(packed, n) == TEXT[:n]
    with pytest.raises(TooLarge):
        decompress(packed, len(TEXT) - 1)


@pytest.mark.parametrize("kind", [kind for kind in PACKED if "in" not in kind.split()])
def test_pieces_of_a_stream_are_those_bytes_too(kind):
    for chunk in (100, 1 << 20):
        stream = io.BytesIO(PACKED[kind])
        assert b"".join(iter_decompressed(stream.read, chunk=chunk)) == TEXT


def test_an_empty_file_is_empty_and_so_is_an_empty_stream():
    for packed in (b"", gzip.compress(b""), zstd(b""), zstd(b"", content_size=False)):
        assert decompress(packed, 10) == b""
        assert peek(packed, 10) == b""


def test_three_layers_are_left_packed():
    once = gzip.compress(TEXT)
    assert decompress(gzip.compress(gzip.compress(once)), MANY) == once


# A cut exactly between two members or frames cannot be told; all that may come back then is what
# was before the cut.
SHORT = TEXT[:3000]
CUT = {
    "gzip": gzip.compress(SHORT),
    "gzip stored": stored(SHORT),
    "gzip with all header fields": with_header_fields(SHORT),
    "gzip members": bgzf(SHORT, 1000),
    "zstd": zstd(SHORT),
    "zstd of unknown size": zstd(SHORT, content_size=False),
    "zstd without checksum": zstd(SHORT, checksum=False),
    "zstd frames": zstd(SHORT[:900]) + SKIPPABLE + zstd(SHORT[900:]),
}


@pytest.mark.parametrize("kind", CUT)
def test_a_stream_cut_at_any_byte_is_truncated(kind):
    packed = CUT[kind]
    boundaries = 0
    for n in range(1, len(packed)):
        try:
            out = decompress(packed[:n], MANY)
        except TruncatedStream:
            pass
        else:
            assert SHORT.startswith(out)
            assert len(out) < len(SHORT) or packed[n:] == NO_CONTENT
            boundaries += 1
    assert boundaries == {"gzip members": 3, "zstd frames": 2}.get(kind, 0)


@pytest.mark.parametrize("kind", ["gzip", "gzip stored", "zstd", "zstd of unknown size"])
def test_no_flipped_bit_gives_other_bytes(kind):
    packed = CUT[kind]
    for position in range(len(packed)):
        for bit in range(8):
            damaged = bytearray(packed)
            damaged[position] ^= 1 << bit
            try:
                out = decompress(bytes(damaged), 1 << 20)
            except SourceError:
                continue
            # Header fields such as the time do not matter; a broken magic leaves plain bytes.
            assert out in (SHORT, bytes(damaged))
            assert out == SHORT or position < 4


def test_check_value_and_length_of_every_member_are_compared():
    first, second = gzip.compress(TEXT[:20000]), gzip.compress(TEXT[20000:])
    for i in range(1, 9):
        broken = bytearray(first)
        broken[-i] ^= 1
        with pytest.raises(CorruptStream):
            decompress(bytes(broken) + second, MANY)
        broken = bytearray(second)
        broken[-i] ^= 1
        with pytest.raises(CorruptStream):
            decompress(first + bytes(broken), MANY)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_bytes_after_the_end_that_are_no_padding_are_damage(pack):
    for rest in (b"x", b"\0\0x", b"\n", b"<html>", bytes(100) + b"1"):
        with pytest.raises(CorruptStream, match="nor padding"):
            decompress(pack(TEXT) + rest, MANY)
    with pytest.raises(TruncatedStream):
        decompress(pack(TEXT) + pack(TEXT)[:1], MANY)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "zstd", "gzip members"]))
def test_arbitrary_bytes_are_unpacked_or_refused(noise, start):
    packed = PACKED[start][: len(noise) * 7] + noise if start else noise
    try:
        out = decompress(packed, 100_000)
    except SourceError as error:
        assert error.reason in ("truncated-stream", "corrupt-stream", "too-large")  # noqa: PT017
    else:
        assert len(out) <= 100_000


@given(st.binary(max_size=5000), st.integers(1, 2000), st.booleans())
def test_members_of_any_length_are_joined(data, block, as_zstd):
    data = b"#" + data[1:]  # what begins as something packed would be unpacked once more
    blocks = [data[i : i + block] for i in range(0, len(data), block)]
    pack = zstd if as_zstd else gzip.compress
    assert decompress(b"".join(map(pack, blocks)), 5000) == data


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refuse(packed, limit):
    with pytest.raises(TooLarge):
        decompress(packed, limit)


BOMB = gzip.compress(bytes(200 << 20), 9)


@pytest.mark.parametrize(
    "kind", ["gzip", "gzip that lies about its length", "members", "zstd", "zstd2"]
)
def test_a_bomb_costs_no_more_than_the_limit(kind):
    packed = {
        "gzip": BOMB,
        "gzip that lies about its length": BOMB[:-4] + b"\1\0\0\0",
        "members": gzip.compress(bytes(1 << 20)) * 200,
        "zstd": zstd(bytes(200 << 20)),
        "zstd2": zstd(bytes(200 << 20), content_size=False),
    }[kind]
    limit = 16 << 20
    # 64 MiB: what one piece of a zstd stream may stand for.
    slack = (64 << 20) if kind == "zstd2" else (4 << 20)
    assert peak_of(lambda: refuse(packed, limit)) < limit + slack + len(packed)
    assert peak_of(lambda: peek(packed, 65536)) < (64 << 20 if "zstd" in kind else 4 << 20)


def test_a_bomb_in_a_bomb_is_refused():
    refuse(gzip.compress(BOMB), 1 << 20)
    assert peek(gzip.compress(BOMB), 1000) == bytes(1000)


def test_unpacking_one_member_needs_no_second_copy():
    data = random.Random(0).randbytes(1 << 20) * 16
    packed = gzip.compress(data, 1)
    assert peak_of(lambda: decompress(packed, MANY)) < len(data) + len(packed) + (1 << 20)
    split = gzip.compress(data[:1000]) + gzip.compress(data[1000:], 1)
    assert peak_of(lambda: decompress(split, MANY)) < 1.5 * len(data) + len(split)


def test_a_file_of_very_many_empty_members_takes_linear_time():
    packed = gzip.compress(TEXT * 40, 1) + gzip.compress(b"") * 50_000
    started = time.perf_counter()
    assert len(decompress(packed, MANY)) == len(TEXT) * 40
    assert time.perf_counter() - started < 5


def test_a_huge_claimed_size_is_refused_and_a_false_one_found():
    packed = zstd(b"x" * 1000)
    at = packed.index(struct.pack("<H", 1000 - 256))
    for claim in (b"\xff\xff", b"\1\0"):
        lying = packed[:at] + claim + packed[at + 2 :]
        with pytest.raises(CorruptStream):
            decompress(lying, MANY)
    with pytest.raises(TooLarge):
        decompress(packed[:at] + b"\xff\xff" + packed[at + 2 :], 2000)


def test_an_error_names_the_file():
    with pytest.raises(TruncatedStream, match=r"^1abc\.cif\.gz ends before"):
        decompress(PACKED["gzip"][:-1], MANY, name="1abc.cif.gz")


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="no structure files beside the checkout")
def test_real_files_are_unpacked_as_zlib_does():
    files = sorted(STRUCTURES.glob("edge/*.gz"))
    assert files
    for file in files:
        packed = file.read_bytes()
        assert decompress(packed, MANY) == gzip.decompress(packed), file.name
