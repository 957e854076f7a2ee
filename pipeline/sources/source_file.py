"""``SourceFile``: one input file or archive member, as it was found."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.sources.names import Format, name_bytes, printable


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One regular file, one regular member of a tar archive, or one entry of a Foldcomp database.

    Attributes
    ----------
    path : str
        Relative to the discovery's root with ``/`` between folders, or absolute when a list names a
        file outside it. Bytes that are not UTF-8 are surrogate escapes; print `name` instead.
    member : str or None
        Name inside the archive or database `path`.
    size : int
        Bytes as stored (compressed); -1 for a listed file that could not be found.
    mtime_ns : int
        Modification time; of the archive for its members.
    offset : int or None
        Where a member's data start in an uncompressed tar or a database; None for a compressed tar,
        which can only be read from its start (``is_sequential``).
    suffix_format : {"bcif", "cif", "pdb"} or None
        What the *name* says; the content decides.
    stem : str
        Printable name without folders, format and compression; see ``names.split_name``.
    index : int or None
        Position among a compressed tar's headers, which tells members of one name apart; the key in
        a database; None for a plain tar.
    """

    path: str
    member: str | None
    size: int
    mtime_ns: int
    offset: int | None
    suffix_format: Format | None
    stem: str
    index: int | None = None

    @property
    def name(self) -> str:
        """The name in every report: ``folder/1abc.cif.gz``, ``archive.tar::folder/1abc.cif.gz``."""
        return describe_name(self.path, self.member)

    @property
    def is_sequential(self) -> bool:
        """Whether the file can be reached only by streaming its archive."""
        return self.member is not None and self.offset is None

    @property
    def sort_key(self) -> tuple[bytes, bytes]:
        """Order of discovery: bytewise by path, then by member."""
        return name_bytes(self.path), name_bytes(self.member or "")


def describe_name(path: str, member: str | None = None) -> str:
    """``path`` or ``path::member``, printable."""
    return printable(path) if member is None else f"{printable(path)}::{printable(member)}"
