"""What a file's name says: stem, format, compression; and names as text that can be printed.

Names are hints. Which format a file has is decided by its content (``pipeline.sources.sniff``),
how it is compressed by its magic bytes (``pipeline.sources.decompress``).
"""

from __future__ import annotations

import re
from typing import Literal

from pipeline.entry_ids import entry_key

Format = Literal["bcif", "cif", "pdb"]

FETCH_STATE = ".fetch"
"""Folder that ``pipeline.fetch`` keeps beside its files, and no search enters: its records, and
downloads that are not finished."""


_COPIES = (".bak", ".old", ".orig", ".swp")


def is_hidden(name: str, *, is_folder: bool = False) -> bool:
    """Whether a file or folder is kept out of sight, or is what an editor keeps beside a file, or
    a file is a copy of before a change.

    Examples
    --------
    >>> [is_hidden(name) for name in ("._1abc.cif", ".git", "1abc.cif~", "#1abc.cif#", "1abc.cif")]
    [True, True, True, True, False]
    >>> [is_hidden(name) for name in ("1abc.cif.bak", "1abc.pdb.gz.orig", "old", "bak.cif")]
    [True, True, False, False]
    """
    return (
        (name.startswith(".") and name not in (".", ".."))
        or name.endswith("~")
        or (not is_folder and name[-5:].lower().endswith(_COPIES))
        or (len(name) > 1 and name[0] == name[-1] == "#")
    )


def hidden_part(path: str) -> str | None:
    """The first hidden folder on a path, or the path itself if its file is hidden; else ``None``.

    Examples
    --------
    >>> hidden_part("a/.git/in.cif"), hidden_part("./a/x.cif~"), hidden_part("../a/x.cif")
    ('a/.git', './a/x.cif~', None)
    """
    parts = path.split("/")
    for k, part in enumerate(parts):
        if is_hidden(part, is_folder=k < len(parts) - 1):
            return "/".join(parts[: k + 1])
    return None


_COMPRESSIONS = {"gz": "gz", "zst": "zst", "fcz": "fcz"}
# .pdbx is mmCIF text: PDBx/mmCIF is the dictionary's full name.
_FORMATS: dict[str, Format] = {
    "pdb": "pdb",
    "ent": "pdb",
    "cif": "cif",
    "mmcif": "cif",
    "pdbx": "cif",
    "bcif": "bcif",
}
_ASSEMBLY_SUFFIX = re.compile(r"pdb[0-9]+")
# The letter keeps numbered models apart: pdb0001.pdb is no archive file.
_ARCHIVE_STEM = re.compile(r"pdb([0-9](?=[0-9]*[a-z])[a-z0-9]{3})", re.IGNORECASE | re.ASCII)
# The archive's files of extended ids: coordinates (xyz), perhaps with annotation (enrich), of one
# version, and of one assembly.
_EXTENDED_STEM = re.compile(
    r"(?P<id>pdb_[a-z0-9]{8})(?:_xyz(?:-enrich)?)?(?:_v(?P<major>[0-9]{1,4})-(?P<minor>[0-9]{1,4}))?"
    r"(?P<assembly>-assembly[0-9]+)?",
    re.IGNORECASE | re.ASCII,
)
_TAR_SUFFIXES = (".tar", ".tgz", ".tzst", ".tar.gz", ".tar.zst")
_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def split_name(filename: str) -> tuple[str, Format | None, str | None]:
    """Stem, format and compression of a file name (without folders).

    A PDB id is spelled as by `entry_key`, and ``pdb1abc.ent`` is ``1abc``; other stems keep their
    case. What the archive's names of extended ids say beside the id (``pdb_00001abc_xyz_v1-2``) is
    left out, but for an assembly, which is not the entry. A suffix that is not known stays in the
    stem: ``model.001`` and ``model.002`` are two entries. So does
    that of a biological assembly in PDB format: ``1tbf.pdb1`` is not the entry ``1tbf``. What
    Foldcomp packed has no format by its name: the exact file beside it comes first.

    Examples
    --------
    >>> split_name("pdb1ABC.ent.gz")
    ('1abc', 'pdb', 'gz')
    >>> split_name("pdb_00001abc_xyz_v1-2.cif.gz")
    ('1abc', 'cif', 'gz')
    >>> split_name("1tbf.pdb1.gz")
    ('1tbf.pdb1', 'pdb', 'gz')
    >>> split_name("AF-P12345-F1-model_v4.cif.zst")
    ('AF-P12345-F1-model_v4', 'cif', 'zst')
    >>> split_name("AF-P12345-F1-model_v4.cif.fcz")
    ('AF-P12345-F1-model_v4', None, 'fcz')
    >>> split_name("model.001")
    ('model.001', None, None)
    """
    compression: str | None = None
    stem = filename
    for _ in range(2):  # .gz.gz happens: a downloader that compresses what it receives
        root, _, suffix = stem.rpartition(".")
        kind = _COMPRESSIONS.get(suffix.lower())
        if not root or kind is None:
            break
        compression, stem = compression or kind, root
    root, _, suffix = stem.rpartition(".")
    if root:  # a name that is only a suffix (".pdb") is a stem
        suffix = suffix.lower()
        if (known := _FORMATS.get(suffix)) is not None:
            return _normalise_id(root), None if compression == "fcz" else known, compression
        if _ASSEMBLY_SUFFIX.fullmatch(suffix):
            return f"{_normalise_id(root)}.{suffix}", "pdb", compression
    return _normalise_id(stem), None, compression


def _normalise_id(stem: str) -> str:
    if len(stem) == 7 and (match := _ARCHIVE_STEM.fullmatch(stem)):
        return match[1].lower()
    if len(stem) > 12 and (extended := _EXTENDED_STEM.fullmatch(stem)):
        return entry_key(extended["id"]) + (extended["assembly"] or "").lower()
    return entry_key(stem)


def version_in_name(filename: str) -> tuple[int, int] | None:
    """The version that the archive writes into a file's name, (major, minor); ``None`` where a
    name says none, which is the present one.

    Examples
    --------
    >>> version_in_name("pdb_00001abc_xyz_v1-2.cif.gz"), version_in_name("pdb_00001abc.cif.gz")
    ((1, 2), None)
    """
    match = _EXTENDED_STEM.match(filename) if filename[:4].lower() == "pdb_" else None
    return (int(match["major"]), int(match["minor"])) if match and match["major"] else None


def is_tar_name(filename: str) -> bool:
    """Whether the name says that the file is a tar archive, plain or compressed."""
    return filename.lower().endswith(_TAR_SUFFIXES) and filename.lower() not in _TAR_SUFFIXES


def printable(name: str) -> str:
    r"""A name as text for reports and tables: valid UTF-8, one line, nothing invisible.

    Bytes that are not UTF-8 (surrogate escapes) become ``\xNN``, characters that do not print
    ``\uNNNN``, and a backslash two; so different names stay different, and ``from_printable`` turns
    the text back into the name.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(map(_escape, name))


def _escape(char: str) -> str:
    code = ord(char)
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def from_printable(text: str) -> str:
    """The name that ``printable`` made `text` from."""

    def unescape(match: re.Match[str]) -> str:
        code = match[1]
        if code == "\\":
            return code
        return chr(int(code[1:], 16) + (0xDC00 if code[0] == "x" else 0))

    return _ESCAPE.sub(unescape, text) if "\\" in text else text


def name_bytes(name: str) -> bytes:
    """The bytes of a name as the file system or the archive has them; what sorting goes by."""
    return name.encode("utf-8", "surrogateescape")
