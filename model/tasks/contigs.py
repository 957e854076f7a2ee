"""Contigs: what is kept of an input and what is made around it, in RFdiffusion's notation.

``10-20/A45-60/15/0 B``: segments of a chain are separated by ``/``; ``A45-60`` are residues of
the input, ``B`` is a whole chain of it, ``15`` are new residues, ``10-20`` as many new ones as are
drawn from that range; ``/0`` and a blank end a chain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from model.tasks.residue_ranges import ResidueRange, parse_residue_range
from pipeline.errors import UsageError
from pipeline.seeded import seeded

_FREE = re.compile(r"(\d+)(?:-(\d+))?")
MAX_FREE = 10_000


@dataclass(frozen=True)
class Free:
    """As many new residues as are drawn, `least` to `most`, all equally likely."""

    least: int
    most: int

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}-{self.most}"


Segment: TypeAlias = ResidueRange | Free
Contigs: TypeAlias = tuple[tuple[Segment, ...], ...]
"""Segments of each chain."""


def parse_contigs(text: str) -> Contigs:
    """Read the notation.

    Raises
    ------
    UsageError
        Names the token that cannot be read.

    Examples
    --------
    >>> [str(segment) for segment in parse_contigs("10-20/A45-60/15")[0]]
    ['10-20', 'A45-60', '15']
    """
    words = _without_brackets(text).split()
    if not words:
        raise UsageError('--contigs is empty; write segments such as "10-20/A45-60/15"')
    chains = []
    for k, word in enumerate(words):
        tokens = word.split("/")
        last = k + 1 == len(words)
        if tokens[-1] == "0":
            # Before the end of the text, a break is allowed and means nothing.
            tokens.pop()
        elif not last:
            raise UsageError(
                f"--contigs: a blank begins a chain, and the one before it ends in /0: write "
                f"{word + '/0 ' + words[k + 1]!r}, or {word + '/' + words[k + 1]!r} for one chain"
            )
        segments = tuple(_segment(token, word) for token in tokens)
        if not any(isinstance(s, ResidueRange) or s.least > 0 for s in segments):
            raise UsageError(f"--contigs: the chain {word!r} may come out empty")
        chains.append(segments)
    return tuple(chains)


def draw_contigs(contigs: Contigs, seed: int, name: str) -> Contigs:
    """Contigs with the numbers of new residues drawn: a pure function of (seed, name)."""
    random = seeded(seed, "contigs", name)

    def drawn(segment: Segment) -> Segment:
        if isinstance(segment, ResidueRange):
            return segment
        length = int(random.integers(segment.least, segment.most + 1))
        return Free(length, length)

    return tuple(tuple(drawn(segment) for segment in segments) for segments in contigs)


def _segment(token: str, word: str) -> Segment:
    if token == "":
        raise UsageError(f"--contigs: {word!r} has a / too many: nothing is before or after it")
    match = _FREE.fullmatch(token)
    if match is not None:
        least = int(match[1])
        most = least if match[2] is None else int(match[2])
        if most < least:
            raise UsageError(f"--contigs: {token!r} ends before it begins; write {most}-{least}")
        if most == 0:
            raise UsageError(
                f"--contigs: {token!r} within {word!r}: a chain ends in '/0 ', with a blank before "
                "the next one"
            )
        if most > MAX_FREE:
            raise UsageError(f"--contigs: {token!r} is more than {MAX_FREE:,} new residues")
        return Free(least, most)
    try:
        residues = parse_residue_range(token)
    except UsageError as error:
        raise UsageError(f"--contigs: {error}") from error
    if residues is None:
        raise UsageError(
            f"--contigs: {token!r} is neither a number of new residues (15 or 10-20) nor residues "
            "of the input (A45-60, A52A-60, A for a whole chain, 1:45-60 for one whose id is not "
            "of letters, _45-60 for one without an id)"
        )
    return residues


def _without_brackets(text: str) -> str:
    """RFdiffusion's command line has its contigs in brackets, and quotes around them."""
    return text.strip().strip("'\"").removeprefix("[").removesuffix("]").strip("'\" ")
