"""Which entries and chains are kept: small functions, value → reason to drop or ``None``.

There are three stages, cheap before expensive: what the header says (before any atom is read),
what the chain's sequence and masks say, and what needs its geometry.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline.chain import Chain, EntryMetadata
from pipeline.commands.checks import check_day, check_share
from pipeline.commands.words import dashed
from pipeline.entry_ids import entry_key
from pipeline.errors import UsageError
from pipeline.features import ChainFeatures
from pipeline.residues import UNKNOWN

Property = Literal[
    "resolution",
    "method",
    "deposition-date",
    "release-date",
    "oligomer",
    "plddt",
    "r-free",
    "data-completeness",
]


def _rule(
    default: Any = None,
    *,
    share: bool = False,
    day: bool = False,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    up_to: str | None = None,
    of: Property | None = None,
) -> Any:
    """A rule with what its value must be.

    Parameters
    ----------
    share
        From 0 to 1.
    day
        YYYY-MM-DD.
    least, above, most
        From and to which number, or above which. Beyond, nothing would be kept, or everything.
    up_to
        The rule whose value is the other end of what is kept. A day there is no more kept, a number
        is.
    of
        What of an entry it judges, if entries that do not say it pass.
    """
    limits = {"least": least, "above": above, "most": most}
    others = {"share": share, "day": day, "up_to": up_to, "of": of}
    return field(default=default, metadata={**limits, **others})


def _check_range(name: str, value: float, rule: Mapping[str, Any]) -> None:
    least, above, most = rule["least"], rule["above"], rule["most"]
    too_low = (least is not None and value < least) or (above is not None and value <= above)
    if too_low or (most is not None and value > most):
        wanted = f"above {above}" if least is None else f"of at least {least}"
        if most is not None:
            wanted = f"from {least} to {most}"
        raise UsageError(
            f"{dashed(name)} {value:g} is out of range: give a number {wanted}, or leave the "
            "option out to drop nothing by it"
        )


METHODS = (
    "X-RAY DIFFRACTION",
    "ELECTRON MICROSCOPY",
    "SOLUTION NMR",
    "SOLID-STATE NMR",
    "NEUTRON DIFFRACTION",
    "ELECTRON CRYSTALLOGRAPHY",
    "FIBER DIFFRACTION",
    "POWDER DIFFRACTION",
    "SOLUTION SCATTERING",
    "EPR",
    "FLUORESCENCE TRANSFER",
    "INFRARED SPECTROSCOPY",
    "THEORETICAL MODEL",
)
"""The values of ``_exptl.method`` in the mmCIF dictionary."""

_OLD_METHODS = (
    "CRYO-ELECTRON MICROSCOPY",
    "ELECTRON DIFFRACTION",
    "ELECTRON TOMOGRAPHY",
    "NMR, MINIMIZED AVERAGE STRUCTURE",
    "POLYCRYSTALLINE DIFFRACTION",
    "SINGLE-CRYSTAL ELECTRON MICROSCOPY",
    "SYNCHROTRON X-RAY DIFFRACTION",
)
"""What EXPDTA of older PDB files says beside these."""


def _check_methods(methods: Iterable[str]) -> None:
    """See that each is a part of some method: a word that is none would silently keep nothing."""
    for method in methods:
        if not method.strip():
            raise UsageError(
                "--methods has an empty name, which every method has in it: give a part of one "
                "(x-ray, nmr, electron), or leave the option out"
            )
        # The column of joint entries holds several.
        names = [name.strip().upper() for name in method.split(";")]
        if not all(any(n in known for known in (*METHODS, *_OLD_METHODS)) for n in names):
            raise UsageError(
                f"--methods {method} is a part of no method's name: give a part of one, in any "
                f"case (x-ray, nmr, electron). The methods are {', '.join(METHODS)}"
            )


_LATER = frozenset(
    {
        *("max_r_free", "min_data_completeness", "max_zero_occupancy_fraction", "max_clashes"),
        *("max_ramachandran_outlier_fraction", "max_chirality_errors"),
    }
)


class Drop(NamedTuple):
    """Why something is left out: a stable code, and a sentence with the numbers."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Rules for what is kept. A rule that is not set drops nothing.

    A value the file does not give (an NMR entry has no resolution) passes, unless `drop_unknown`
    names the property.

    Parameters
    ----------
    min_length
        Fewest residues of a chain (rows: from the first to the last resolved residue).
    max_length
        Most residues of a chain.
    min_resolved
        Fewest resolved residues of a chain.
    min_fraction_resolved
        Least share of a chain's residues that are resolved, 0 to 1.
    max_resolution
        Largest resolution in Å. Entries without one (NMR, predicted) pass, unless --drop-unknown
        resolution.
    methods
        Experimental methods to keep, by a part of their name in any case (x-ray, nmr, electron); a
        word that is a part of no method's name is refused. Entries without one (predicted) pass,
        unless --drop-unknown method.
    deposited_after
        Keep entries deposited on this day (YYYY-MM-DD) or later; without a date they pass, unless
        --drop-unknown deposition-date.
    deposited_before
        Keep entries deposited before this day.
    released_after
        Keep entries released on this day (YYYY-MM-DD) or later; without a date they pass, unless
        --drop-unknown release-date.
    released_before
        Keep entries released before this day: a time split that leaks nothing uses this one.
    min_oligomer
        Fewest polymer chains in the entry's first biological assembly; where the file does not say
        they pass, unless --drop-unknown oligomer.
    max_oligomer
        Most polymer chains in the entry's first biological assembly.
    max_coil_fraction
        Largest share of residues that are neither helix nor strand, 0 to 1.
    max_radius_of_gyration
        Largest radius of gyration in Å.
    min_plddt
        Least mean pLDDT of a predicted chain, 0 to 100. Chains without one (experimental, or
        predictions that do not say so: see --b-factor-is) pass and are counted, unless
        --drop-unknown plddt.
    max_fraction_x
        Largest share of residues of unknown type, 0 to 1.
    max_breaks
        Most chain breaks (see the column n_breaks).
    max_r_free
        Largest R-free, 0 to 1. Entries without one (NMR, electron microscopy, predicted, old) pass,
        unless --drop-unknown r-free.
    min_data_completeness
        Least share of the possible reflections that were measured, 0 to 1. Where the file does not
        say, entries pass, unless --drop-unknown data-completeness.
    max_zero_occupancy_fraction
        Largest share of a chain's heavy atoms that have no occupancy, 0 to 1.
    max_clashes
        Most clashes per 1,000 atoms of a chain (see the column clashes_per_1000_atoms).
    max_ramachandran_outlier_fraction
        Largest share of residues whose φ and ψ are those of hardly any good structure, 0 to 1.
    max_chirality_errors
        Most carbons of the wrong hand (see the column n_chirality_errors).
    drop_unknown
        Properties whose absence drops an entry, with a limit or without: resolution, method,
        deposition-date, release-date, oligomer, plddt, r-free, data-completeness.
    """

    min_length: int = _rule(1, least=0, up_to="max_length")
    max_length: int | None = _rule(least=1)
    min_resolved: int = _rule(1, least=0, up_to="max_length")
    min_fraction_resolved: float = _rule(0.0, share=True)
    max_resolution: float | None = _rule(above=0, of="resolution")
    methods: list[str] | None = field(default=None, metadata={"of": "method"})
    deposited_after: str | None = _rule(day=True, up_to="deposited_before", of="deposition-date")
    deposited_before: str | None = _rule(day=True, of="deposition-date")
    released_after: str | None = _rule(day=True, up_to="released_before", of="release-date")
    released_before: str | None = _rule(day=True, of="release-date")
    min_oligomer: int | None = _rule(least=0, up_to="max_oligomer", of="oligomer")
    max_oligomer: int | None = _rule(least=1, of="oligomer")
    max_coil_fraction: float | None = _rule(share=True)
    max_radius_of_gyration: float | None = _rule(above=0)
    min_plddt: float | None = _rule(least=0, most=100)
    max_fraction_x: float | None = _rule(share=True)
    max_breaks: int | None = _rule(least=0)
    max_r_free: float | None = _rule(share=True, of="r-free")
    min_data_completeness: float | None = _rule(share=True, of="data-completeness")
    max_zero_occupancy_fraction: float | None = _rule(share=True)
    max_clashes: float | None = _rule(least=0)
    max_ramachandran_outlier_fraction: float | None = _rule(share=True)
    max_chirality_errors: int | None = _rule(least=0)
    drop_unknown: list[Property] | None = None

    def check(self) -> None:
        """See that each rule can be kept, and that two do not leave nothing.

        Raises
        ------
        UsageError
        """
        given = {f.name: (f, v) for f in fields(self) if (v := getattr(self, f.name)) is not None}
        for name, (rule, value) in given.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{dashed(name)} must be a number")
            if rule.metadata.get("share"):
                check_share(name, value)
            if rule.metadata.get("day"):
                check_day(name, value)
            if isinstance(value, int | float):
                _check_range(name, value, rule.metadata)
        _check_methods(self.methods or ())
        for name, (rule, low) in given.items():
            up_to = rule.metadata.get("up_to")
            if up_to not in given:
                continue
            _, high = given[up_to]
            if low > high or (low == high and rule.metadata["day"]):
                raise UsageError(f"{dashed(name)} {low} and {dashed(up_to)} {high} leave nothing")

    @property
    def judged(self) -> tuple[Property, ...]:
        """What of entries the rules that are set judge, of what a file may leave unsaid."""
        rules = (f for f in fields(self) if getattr(self, f.name) not in (None, [], ()))
        return tuple(dict.fromkeys(f.metadata["of"] for f in rules if f.metadata.get("of")))

    def identity(self) -> dict[str, Any]:
        """The rules as JSON-able values; without those that are not set of the later ones, so that
        what was built before there were these is still built by the same rules."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in values.items() if v is not None or k not in _LATER}

    def entry(self, metadata: EntryMetadata) -> Drop | None:
        """Judge an entry by its header."""
        return (
            self._most("resolution", metadata.resolution, self.max_resolution, "Å")
            or self._method(metadata.method)
            or self._date(
                "deposition-date",
                metadata.deposition_date,
                self.deposited_after,
                self.deposited_before,
            )
            or self._date(
                "release-date", metadata.release_date, self.released_after, self.released_before
            )
            or self._least("oligomer", metadata.oligomer, self.min_oligomer, "chains")
            or self._most("oligomer", metadata.oligomer, self.max_oligomer, "chains")
            or self._most("r-free", metadata.r_free, self.max_r_free)
            or self._least(
                "data-completeness", metadata.data_completeness, self.min_data_completeness
            )
        )

    def chain(self, chain: Chain) -> Drop | None:
        """Judge a chain by its residues and masks."""
        n = len(chain)
        n_resolved = int(np.count_nonzero(chain.resolved))
        fraction_x = int(np.count_nonzero(chain.aatype == UNKNOWN)) / n
        return (
            self._least("length", n, self.min_length, "residues")
            or self._most("length", n, self.max_length, "residues")
            or self._least("resolved", n_resolved, self.min_resolved, "resolved residues")
            or self._least("fraction-resolved", n_resolved / n, self.min_fraction_resolved)
            or self._most("fraction-x", fraction_x, self.max_fraction_x)
            or self._most(
                "zero-occupancy-fraction",
                chain.zero_occupancy_fraction,
                self.max_zero_occupancy_fraction,
            )
        )

    def geometry(self, chain: Chain, features: ChainFeatures) -> Drop | None:
        """Judge a chain by what was computed from its coordinates."""
        plddt = features.mean_b_factor if chain.metadata.confidence_kind == "plddt" else None
        return (
            self._most("breaks", features.n_breaks, self.max_breaks, "breaks")
            or self._most("coil-fraction", features.coil_fraction, self.max_coil_fraction)
            or self._most(
                "radius-of-gyration", features.radius_of_gyration, self.max_radius_of_gyration, "Å"
            )
            or self._least("plddt", plddt, self.min_plddt)
            or self._most(
                "clashes",
                features.clashes_per_1000_atoms,
                self.max_clashes,
                "clashes per 1,000 atoms",
            )
            or self._most(
                "ramachandran-outlier-fraction",
                features.ramachandran_outlier_fraction,
                self.max_ramachandran_outlier_fraction,
            )
            or self._most(
                "chirality-errors", features.n_chirality_errors, self.max_chirality_errors
            )
        )

    def _unknown(self, name: str) -> Drop | None:
        if name in (self.drop_unknown or ()):
            return Drop(f"unknown-{name}", f"the file gives no {name}")
        return None

    def _most(
        self, name: str, value: float | None, limit: float | None, unit: str = ""
    ) -> Drop | None:
        if value is None:
            return self._unknown(name)
        if limit is None or value <= limit:
            return None
        return Drop(f"max-{name}", f"{value:.4g} {unit} is over {limit:g}".replace("  ", " "))

    def _least(
        self, name: str, value: float | None, limit: float | None, unit: str = ""
    ) -> Drop | None:
        if value is None:
            return self._unknown(name)
        if limit is None or value >= limit:
            return None
        return Drop(f"min-{name}", f"{value:.4g} {unit} is under {limit:g}".replace("  ", " "))

    def _method(self, method: str | None) -> Drop | None:
        if method is None:
            return self._unknown("method")
        if not self.methods or any(wanted.upper() in method.upper() for wanted in self.methods):
            return None
        return Drop("method", f"{method} is not wanted")

    def _date(
        self, name: str, date: str | None, after: str | None, before: str | None
    ) -> Drop | None:
        if date is None:
            return self._unknown(name)
        if after is not None and date < after:
            return Drop(f"min-{name}", f"{date} is before {after}")
        if before is not None and date >= before:
            return Drop(f"max-{name}", f"{date} is not before {before}")
        return None


class ManifestError(UsageError):
    """A manifest that cannot be used; the sentence says which line and why."""


_MEANS_CHAINS = re.compile(
    r"(?:auth|author|label|pdb|struct)*(?:(?:asym|chain)s?(?:ids?|names?|uids?)?|strands?ids?)",
    re.IGNORECASE,
)


def check_chain_column(columns: Collection[str], path: Path, known: Sequence[str]) -> None:
    """See that no column names chains under another heading: the table would be read as one of
    whole entries.

    Parameters
    ----------
    columns : collection of str
        Headings of a table.
    path : Path
        Of the table, for the sentence.
    known : sequence of str
        Headings under which chains are looked for. If the table has one of them, others may mean
        whatever they like.

    Raises
    ------
    ManifestError
    """
    if not set(known).isdisjoint(columns):
        return
    for column in columns:
        if _MEANS_CHAINS.fullmatch(re.sub(r"[\W_]", "", column)):
            wanted = f"chains are read from a column {' or '.join(known)}"
            advice = "give it this name (exactly so)"
            if "uid" in column.lower():
                advice = "give there the chains' ids alone (A, not 1abc_1_A)"
            raise ManifestError(
                f"{path}: has a column {column}, but {wanted}; {advice}, or name it otherwise, "
                "such as note, if whole entries are meant"
            )


MISSING_CHAIN = "manifest_chain_missing:"
"""What the flag of an input begins with whose entry lacks a chain of the manifest."""


def one_on_each_line(chains: Iterable[str]) -> str:
    """A remark for a sentence about chains that were not found, if one looks like several."""
    several = next((c for c in chains if len(re.findall(r"[^\s,;]+", c)) > 1), None)
    return f"; {several!r} looks like several: one chain belongs on each line" if several else ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Entries, and chains of entries, that a build is restricted to.

    Attributes
    ----------
    entries : dict
        Entry id, as `entry_key` spells it, → chain ids (label or author), or ``None`` for all of
        its chains.
    """

    entries: dict[str, frozenset[str] | None]

    @classmethod
    def read(cls, path: Path, *, entries_only: bool = False) -> Manifest:
        """Read a CSV with a column ``entry_id`` and, optionally, ``chain``.

        Parameters
        ----------
        path : Path
        entries_only : bool
            Chains do not matter, so their column may have any name.

        Raises
        ------
        ManifestError
            No such column, one of chains with another name, a line without an entry, or no text
            that can be read.
        """
        entries: dict[str, set[str] | None] = {}
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = [name.strip() for name in reader.fieldnames or ()]
                if "entry_id" not in columns:
                    raise ManifestError(
                        f"{path}: a manifest is a CSV whose first line names a column entry_id; "
                        f"found {', '.join(columns) or 'nothing'}"
                    )
                if not entries_only:
                    check_chain_column(columns, path, ["chain"])
                reader.fieldnames = columns
                for row in reader:
                    entry = (row["entry_id"] or "").strip()
                    if not entry:
                        raise ManifestError(f"{path}, line {reader.line_num}: no entry_id")
                    chain = (row.get("chain") or "").strip()
                    key = entry_key(entry)
                    if not chain:
                        entries[key] = None
                    elif (known := entries.setdefault(key, set())) is not None:
                        known.add(chain)
        except UnicodeDecodeError:
            raise ManifestError(f"{path}: a manifest is CSV text in UTF-8; this is not") from None
        except csv.Error as error:
            raise ManifestError(f"{path}: a manifest is a CSV; this is not ({error})") from None
        except OSError as error:
            raise ManifestError(f"{path}: the manifest cannot be read: {error.strerror}") from None
        return cls({k: None if v is None else frozenset(v) for k, v in entries.items()})

    def has_entry(self, entry_id: str) -> bool:
        """Whether any chain of the entry is wanted; a qualified id counts by its stem too."""
        return self._find(entry_id) is not None

    def has_chain(self, chain: Chain) -> bool:
        key = self._find(chain.entry_id)
        if key is None:
            return False
        wanted = self.entries[key]
        return wanted is None or chain.label_asym_id in wanted or chain.auth_asym_id in wanted

    def missing(self, entry_ids: Iterable[str]) -> list[str]:
        """Entries of the manifest that are not among `entry_ids`."""
        found = {self._find(e) for e in entry_ids}
        return sorted(e for e in self.entries if e not in found)

    def chains_not_among(self, entry_id: str, ids: Collection[str]) -> list[str]:
        """Chains that the manifest lists of an entry, and that none of the ids names."""
        key = self._find(entry_id)
        wanted = None if key is None else self.entries[key]
        return sorted(wanted.difference(ids)) if wanted is not None else []

    def names_of(self, entry_id: str, ids: Collection[str]) -> list[str]:
        """What the manifest has of a chain with these ids: its entry, and ``entry chain``."""
        key = self._find(entry_id)
        if key is None:
            return []
        return [key, *(f"{key} {i}" for i in (self.entries[key] or frozenset()).intersection(ids))]

    def not_among(self, names: Collection[str]) -> list[str]:
        """Entries and, of the other entries, chains that are not among such names."""
        return sorted(
            name
            for entry, chains in self.entries.items()
            for name in ([f"{entry} {c}" for c in chains or ()] if entry in names else [entry])
            if name not in names
        )

    def _find(self, entry_id: str) -> str | None:
        for key in (entry_id, entry_id.rpartition("/")[2]):
            key = entry_key(key)
            if key in self.entries:
                return key
        return None
