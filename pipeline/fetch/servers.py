"""Where the servers keep which file: URL patterns, and mirrors that replace them."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote, urlsplit

from pipeline.errors import UsageError
from pipeline.fetch.entry_ids import Wanted
from pipeline.sources import Format

Source = Literal["rcsb", "pdbe", "pdbj", "alphafold"]

_ARCHIVE: dict[Format, str] = {
    "cif": "mmCIF/{middle}/{id}.cif.gz",
    "pdb": "pdb/{middle}/pdb{id}.ent.gz",
}
"""The layout that all copies of the PDB archive share; it has no BinaryCIF."""
_PDBE = "https://ftp.ebi.ac.uk/pub/databases/pdb/data/structures/divided"
_PDBJ = "https://data.pdbj.org/pub/pdb/data/structures/divided"
_ALPHAFOLD = "https://alphafold.ebi.ac.uk/files"

ADDRESSES: dict[tuple[Source, Format], tuple[str, str]] = {
    ("rcsb", "bcif"): ("https://models.rcsb.org", "{id}.bcif.gz"),
    ("rcsb", "cif"): ("https://files.rcsb.org/download", "{id}.cif.gz"),
    ("rcsb", "pdb"): ("https://files.rcsb.org/download", "{id}.pdb.gz"),
    ("pdbe", "bcif"): ("https://www.ebi.ac.uk/pdbe/entry-files/download", "{id}.bcif"),
    ("pdbe", "cif"): (_PDBE, _ARCHIVE["cif"]),
    ("pdbe", "pdb"): (_PDBE, _ARCHIVE["pdb"]),
    ("pdbj", "cif"): (_PDBJ, _ARCHIVE["cif"]),
    ("pdbj", "pdb"): (_PDBJ, _ARCHIVE["pdb"]),
    ("alphafold", "bcif"): (_ALPHAFOLD, "{id}.bcif"),
    ("alphafold", "cif"): (_ALPHAFOLD, "{id}.cif"),
    ("alphafold", "pdb"): (_ALPHAFOLD, "{id}.pdb"),
}
"""(beginning, rest) of the URLs."""

_BLANK = re.compile(r"\{([^{}]*)\}")
_BLANKS = ("id", "ID", "middle", "format")


class NoSuchAddress(UsageError):
    """The server does not have the format, or a mirror is no URL; the sentence says what to do."""


def url_pattern(source: Source, format: Format, mirror: str | None = None) -> str:
    """The URL of an entry, with blanks for `fill_in`.

    Parameters
    ----------
    mirror : str, optional
        Replaces the beginning of the server's URLs or, if it has blanks, all of them.

    Raises
    ------
    NoSuchAddress
    """
    if mirror is not None:
        _check_mirror(mirror)
        if "{" in mirror:
            return mirror
    if (source, format) not in ADDRESSES:
        raise NoSuchAddress(
            f"--source {source} has no BinaryCIF; give --format cif, or --source rcsb"
        )
    beginning, rest = ADDRESSES[source, format]
    return f"{(mirror or beginning).rstrip('/')}/{rest}"


def fill_in(pattern: str, wanted: Wanted, format: Format) -> str:
    """The URL of one entry."""
    values = {
        "id": wanted.remote,
        "ID": wanted.remote.upper(),
        "middle": wanted.middle,
        "format": format,
    }
    return _BLANK.sub(lambda match: quote(values[match[1]], safe=""), pattern)


def _check_mirror(mirror: str) -> None:
    try:
        parts = urlsplit(mirror)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise NoSuchAddress(f"--mirror {mirror} is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise NoSuchAddress(
            f"--mirror {mirror}: give a URL that begins with https:// or http://; a folder of this "
            "machine needs no download"
        )
    if parts.username is not None or parts.password is not None:
        # URLs are written down, and shown.
        raise NoSuchAddress("--mirror: a URL must not hold a user or a password")
    blanks = _BLANK.findall(mirror)
    unknown = [blank for blank in blanks if blank not in _BLANKS]
    if unknown or _BLANK.sub("", mirror).count("{"):
        what = f"{{{unknown[0]}}}" if unknown else "a lone brace"
        known = ", ".join(f"{{{blank}}}" for blank in _BLANKS)
        raise NoSuchAddress(f"--mirror has {what}; the blanks are {known}")
    if blanks and not {"id", "ID"} & set(blanks):
        raise NoSuchAddress("--mirror has blanks, but neither {id} nor {ID}: all URLs were one")
    if not blanks and (parts.query or parts.fragment):
        raise NoSuchAddress("--mirror has a question mark or #; write out the URL, with {id}")
