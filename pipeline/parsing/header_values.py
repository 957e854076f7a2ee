"""Values of headers that PDB files and mmCIF have in common: days and shares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

from pipeline.parsing.numbers import cif_number
from pipeline.sources import printable

_YEAR_FIRST = re.compile(r"([0-9]{4})([-/])([0-9]{1,2})\2([0-9]{1,2})(?![0-9])")
_OF_PDB = re.compile(r"([0-9]{2})-([A-Z]{3})-([0-9]{2})")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_SHOWN = 20
_LEAST_PERCENT = 5.0


def day_of_cif(text: str | None) -> str | None:
    """A day as ISO writes it, from a text that begins with year, month and day; else ``None``.

    Examples
    --------
    >>> day_of_cif("2020-01-02T00:00:00"), day_of_cif("2020/1/2"), day_of_cif("2020-13-45")
    ('2020-01-02', '2020-01-02', None)
    """
    match = None if text is None else _YEAR_FIRST.match(text)
    return None if match is None else _day(int(match[1]), int(match[3]), int(match[4]))


def day_of_pdb(text: str) -> str | None:
    """A day as ISO writes it, from columns of HEADER or REVDAT; else ``None``.

    Examples
    --------
    >>> day_of_pdb("02-JAN-20"), day_of_pdb("31-FEB-20")
    ('2020-01-02', None)
    """
    match = _OF_PDB.search(text)
    if match is None or match[2] not in _MONTHS:
        return None
    year = int(match[3])
    # The archive began in 1971, so two digits are unambiguous until 2070.
    return _day(year + (1900 if year > 70 else 2000), _MONTHS.index(match[2]) + 1, int(match[1]))


def no_days_of_cif(texts: Iterable[str | None]) -> tuple[str, ...]:
    """Flags that name what stands where a day belongs and is none."""
    return _flags(t for t in texts if t is not None and day_of_cif(t) is None)


def no_days_of_pdb(texts: Iterable[str]) -> tuple[str, ...]:
    """The same for a PDB file, of what looks like a day: headers that other programs write may have
    any words in these columns."""
    return _flags(t.strip() for t in texts if _OF_PDB.search(t) and day_of_pdb(t) is None)


def _flags(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"no_date:{printable(text[:_SHOWN])}" for text in texts))


def _day(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def completeness_of(text: str | None) -> float | None:
    """The share of the possible reflections that were measured, from 0 to 1; ``None`` if it is no
    number, or not more than nothing and at most all.

    Some write a share where a percentage belongs: no data set has but one reflection in a hundred.
    """
    return _share(_percentage(text))


def r_free_of(text: str | None) -> float | None:
    """An R-free from 0 to 1, of a share or of a percentage; ``None`` if it is neither.

    No refinement reaches an R-free of a twentieth, so what is between 1 and 5 is no percentage.

    Examples
    --------
    >>> r_free_of("0.235"), r_free_of("23.5"), r_free_of("23.5 %"), r_free_of("1.2")
    (0.235, 0.235, 0.235, None)
    """
    value = _percentage(text)
    return None if value is not None and 1 < value < _LEAST_PERCENT else _share(value)


def _percentage(text: str | None) -> float | None:
    return None if text is None else cif_number(text.rstrip(" %"))


def _share(value: float | None) -> float | None:
    if value is None or not 0 < value <= 100:
        return None
    return value if value <= 1 else value / 100
