"""Other sequences for a structure: of an option, and of a FASTA file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.score.sequence_score import OWN
from model.tasks.inputs import InputError, InputStructure
from model.tasks.sequences import spread
from pipeline.errors import UsageError
from pipeline.export.chain_ids import distinct
from pipeline.residues import UNKNOWN

_SHOWN = 6
"""Names that a sentence lists."""


@dataclass(frozen=True)
class GivenSequence:
    """One sequence, of one chain or several.

    Attributes
    ----------
    name : str
        What its scores are called.
    told : str
        What sentences call it.
    parts : tuple of str
        Letters of each chain.
    chains : tuple of str
        Ids of the chains that the parts are of; none where they are in the order of the structure.
    """

    name: str
    told: str
    parts: tuple[str, ...]
    chains: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, told: str, text: str) -> GivenSequence:
        """Of a text in which chains are separated by ``:`` or ``/``."""
        return cls(name, told, tuple(text.replace("/", ":").split(":")))

    def on(self, structure: InputStructure) -> NDArray[np.int64]:
        """(L,) types for the residues of a structure.

        Raises
        ------
        InputError
            It does not fit, or has no type where there is a backbone.
        """
        parts = list(self.parts)
        if self.chains:
            places = [structure.find_chain(ident) for ident in self.chains]
            if len(places) != len(structure.chains) or not {*range(len(places))} <= {*places}:
                raise InputError(
                    f"{self.told} is of chains {' '.join(self.chains)}, and {structure.name} has "
                    f"{' '.join(structure.chain_ids)}"
                )
            parts = [parts[places.index(k)] for k in range(len(structure.chains))]
        aatype = spread(":".join(parts), structure, self.told)
        if not ((aatype < UNKNOWN) & structure.resolved).any():
            raise InputError(f"{self.told} has no type where {structure.name} has a backbone")
        return aatype


def sequences_on(
    structure: InputStructure, others: Sequence[GivenSequence]
) -> Iterator[tuple[str, NDArray[np.int64] | InputError]]:
    """Names of sequences with their (L,) types, or why they cannot be scored: that of the file, if
    it tells any, and others."""
    own = structure.structure.aatype
    has_own = bool(((own < UNKNOWN) & structure.resolved).any())
    if has_own:
        yield OWN, own
    elif not others:
        yield (
            OWN,
            InputError(f"{structure.name} has no residue types; give --sequence or --fasta"),
        )
    for other in others:
        try:
            yield other.name, other.on(structure)
        except InputError as error:
            yield other.name, error


def read_fasta(path: Path) -> list[GivenSequence]:
    """The sequences of a file.

    Records that say of which ``sample=`` and ``chain=`` they are, as `model.sample` writes them,
    are one sequence together if they are of one sample.

    Raises
    ------
    UsageError
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--fasta {path} cannot be read: {reason}") from error
    heads: list[str] = []
    texts: list[str] = []
    for line in (line.strip() for line in lines):
        if line.startswith(">"):
            heads.append(line[1:])
            texts.append("")
        elif line and not texts:
            raise UsageError(f"--fasta {path}: {line[:20]!r} stands before the first line with >")
        elif line:
            texts[-1] += line
    names = [(head.split() or [f"record {k}"])[0].rstrip(",") for k, head in enumerate(heads, 1)]
    empty = [name for name, text in zip(names, texts, strict=True) if not text]
    if empty or not texts:
        raise UsageError(f"--fasta {path} has no sequence" + (f" of {empty[0]}" if empty else ""))
    found: list[GivenSequence] = []
    places: defaultdict[str, list[int]] = defaultdict(list)
    for name, head, text in zip(names, heads, texts, strict=True):
        said = dict(word.rstrip(",").split("=", 1) for word in head.split() if "=" in word)
        sample, chain = said.get("sample"), said.get("chain")
        if sample is None or chain is None:
            found.append(GivenSequence.of(name, f"record {name} of {path}", text))
            continue
        # Of two samples of one name, the second record of a chain belongs to the second.
        open_ones = [k for k in places[sample] if chain not in found[k].chains]
        if open_ones:
            k = open_ones[0]
            parts, chains = (*found[k].parts, text), (*found[k].chains, chain)
            found[k] = replace(found[k], parts=parts, chains=chains)
        else:
            places[sample].append(len(found))
            told = f"sample {sample} of {path}"
            found.append(GivenSequence(sample, told, (text,), (chain,)))
    # Where there is one chain, what it is called is of no account.
    return [one if len(one.chains) > 1 else replace(one, chains=()) for one in found]


def told_apart(
    given: Sequence[GivenSequence], path: Path | None
) -> tuple[list[GivenSequence], list[str]]:
    """Each under a name that neither another nor the sequence of the file has; and what to say."""
    names = distinct([OWN, *(one.name for one in given)])[1:]
    changed = [
        f"{one.name} is called {name}"
        for one, name in zip(given, names, strict=True)
        if one.name != name
    ]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    notes = [f"{path}: names that are taken already: {', '.join(changed[:_SHOWN])}{more}"]
    renamed = [replace(one, name=name) for one, name in zip(given, names, strict=True)]
    return renamed, notes if changed else []
