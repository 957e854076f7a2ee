"""What format a file has, from its first bytes. Suffixes lie; contents are what the parser gets."""

from __future__ import annotations

import re

from pipeline.sources.names import Format

HEAD_BYTES = 65536
"""How much of a file ``sniff`` should be shown: comments may come before the first data block."""

_BOM = b"\xef\xbb\xbf"

# A msgpack map whose first key is one of the three that BinaryCIF files have at the top.
_MSGPACK_MAP = re.compile(rb"(?:[\x80-\x8f]|\xde..|\xdf....)", re.DOTALL)
_BCIF_KEY = re.compile(
    rb"(?:[\xa0-\xbf]|\xd9.|\xda..|\xdb....|\xc4.)(?:dataBlocks|encoder|version)", re.DOTALL
)
_BCIF_BLOCKS = b"\xaadataBlocks"  # the key as msgpack writes it, wherever it comes in the map

# Possessive repeats: hostile input must not make a regular expression backtrack.
_CIF_START = re.compile(
    rb"(?:\s++|\#[^\r\n]*+)*+"
    rb"(?:data_|loop_(?=\s)|global_(?=\s)|save_|stop_(?=\s)|_[a-z0-9][a-z0-9_\-]*+\.[a-z0-9_])",
    re.IGNORECASE,
)

_FOREIGN_LINES = 30
_COORDINATE_LINE = re.compile(rb"(?:ATOM  |HETATM|ATOM )[^\r\n]{12,}?[0-9]\.[0-9]")
# PQR: ATOM serial name residue [chain] number x y z charge radius, parted by blanks.
_PQR_LINE = re.compile(
    rb"(?:ATOM|HETATM)(?:\s+\S+){3,4}\s+-?[0-9]+[A-Za-z]?(?:\s+-?[0-9]*\.[0-9]+){3}"
    rb"\s+(-?[0-9]*\.[0-9]+)\s+([0-9]*\.[0-9]+)\s*"
)
_OCCUPANCY_AND_B = re.compile(rb"[ 0-9-]{3}\.[0-9][0-9][ 0-9-]{3}\.[0-9][0-9](?:\s|\Z)")
_PQR_BYTES = 16384
_LONGEST_LINE = 150
_LARGEST_RADIUS = 6.0
"""Å, of an atom."""

_PDB_RECORDS = frozenset(
    b"HEADER OBSLTE TITLE SPLIT CAVEAT COMPND SOURCE KEYWDS EXPDTA NUMMDL MDLTYP AUTHOR REVDAT "
    b"SPRSDE JRNL REMARK DBREF DBREF1 DBREF2 SEQADV SEQRES MODRES HET HETNAM HETSYN FORMUL HELIX "
    b"SHEET TURN SSBOND LINK LINKR CISPEP HYDBND SLTBRG SITE CRYST1 ORIGX1 ORIGX2 ORIGX3 SCALE1 "
    b"SCALE2 SCALE3 MTRIX1 MTRIX2 MTRIX3 TVECT MODEL ATOM ANISOU SIGATM SIGUIJ TER HETATM ENDMDL "
    b"CONECT MASTER END USER FTNOTE NUMRES PARENT TARGET".split()
)

_CONTAINERS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip data packed more than twice"),
    (b"\x28\xb5\x2f\xfd", "zstd data packed more than twice"),
    (b"BZh", "bzip2 data; repack it as .gz or .zst"),
    (b"\xfd7zXZ", "xz data; repack it as .gz or .zst"),
    (b"\x1f\x9d", "data of Unix compress; repack it as .gz or .zst"),
    (b"PK\x03\x04", "a zip archive; unpack it or make it a .tar"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "a picture"),
    (b"%PDF", "a PDF document"),
    (b"\xff\xfe", "UTF-16 text; convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16 text; convert it to UTF-8"),
)


def sniff(head: bytes) -> Format | None:
    """The format of a file that starts with `head`; None for what is no structure file.

    "cif" is any CIF text: structure factors and component dictionaries are told apart by the
    parser, which can say why. "pdb" needs a coordinate line, or record names on half the lines,
    within the first lines: words such as SOURCE or TITLE start lines of prose too.

    Parameters
    ----------
    head : bytes
        Unpacked; the first ``HEAD_BYTES`` if there are as many.

    Examples
    --------
    >>> sniff(b"# made by hand\\ndata_1ABC\\n")
    'cif'
    >>> sniff(b"HEADER    HYDROLASE\\n")
    'pdb'
    >>> sniff(b"Dear reader,\\n") is None
    True
    """
    if (start := _MSGPACK_MAP.match(head)) is not None:
        if _BCIF_KEY.match(head, start.end()) or _BCIF_BLOCKS in head:
            return "bcif"
        return None
    text = head[len(_BOM) :] if head.startswith(_BOM) else head
    if _CIF_START.match(text):
        return "cif"
    return "pdb" if _looks_like_pdb(text) and not _is_pqr(text) else None


def _is_pqr(text: bytes) -> bool:
    """Whether charges and radii stand where a PDB file has occupancies and B-factors.

    They do if the lines end with them (no element behind), not in the columns 55–60 and 61–66, if
    no radius is larger than an atom, and if some charge is negative, as no occupancy is.
    """
    # From the end, for a header may be long; a line cut there tells nothing.
    end = len(text) - (_LONGEST_LINE if len(text) > HEAD_BYTES - 8 else 0)
    last = text.rfind(b"\nATOM", 0, end) + 1
    if not text.startswith(b"ATOM", last) or _OCCUPANCY_AND_B.match(text, last + 54):
        return False
    n_lines = n_pqr = 0
    negative = False
    for line in text[max(0, last - _PQR_BYTES) : last + _LONGEST_LINE].splitlines():
        if not line.startswith((b"ATOM", b"HETATM")) or len(line) > _LONGEST_LINE:
            continue
        n_lines += 1
        match = _PQR_LINE.fullmatch(line)
        if match is not None:
            charge, radius = match.groups()
            in_columns = line[54:60].strip() == charge and line[60:66].strip() == radius
            n_pqr += not in_columns and float(radius) < _LARGEST_RADIUS
            negative |= charge.startswith(b"-")
    # A few may have no blank between serial and record name, or between two coordinates.
    return negative and n_pqr >= 0.9 * n_lines


def _looks_like_pdb(text: bytes) -> bool:
    n_lines = n_records = 0
    for line in text.lstrip()[:8192].splitlines():
        line = line.rstrip()
        if not line:
            continue
        if n_lines == 0 and line.startswith(b"===="):
            return False  # DSSP output: PDB header records, then a table without coordinates
        if _COORDINATE_LINE.match(line):
            return True
        n_lines += 1
        n_records += line[:6].rstrip() in _PDB_RECORDS
        if n_lines == _FOREIGN_LINES:
            break
    return n_records > 0 and 2 * n_records >= n_lines


def describe_content(head: bytes) -> str:
    """What a file seems to be that ``sniff`` knows no format for: why it is skipped, as a sentence.

    Examples
    --------
    >>> describe_content(b"%PDF-1.4")
    'not a structure file, but a PDF document'
    """
    return f"not a structure file, but {_kind_of_content(head)}"


def _kind_of_content(head: bytes) -> str:
    if not head:
        return "an empty file"
    for magic, what in _CONTAINERS:
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive whose name does not say so; name it .tar, .tar.gz or .tar.zst"
    if _MSGPACK_MAP.match(head) and b"mmtfVersion" in head:
        return "an MMTF file; convert it to BinaryCIF"
    if not head.strip(b"\0"):
        return "zeros"
    if b"\0" in head[:4096]:
        return "binary data of no known format"
    text = head.removeprefix(_BOM).lstrip()
    if not text:
        return "white space"
    lowered = text[:64].lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "a web page (a failed download?)"
    if lowered.startswith(b"<"):
        return "XML; fetch the mmCIF file instead"
    if lowered.startswith((b"{", b"[")):
        return "JSON"
    if lowered.startswith(b">"):
        return "FASTA sequences"
    if lowered.startswith(b"===="):
        return "DSSP output"
    if _is_pqr(text):
        return "PQR (charges and radii of atoms); convert the PDB file that it was made from"
    return "text in no known structure format"
