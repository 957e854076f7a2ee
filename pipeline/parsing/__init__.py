"""Bytes of a structure file → chains, by the parsing policy of the documentation."""

from pipeline.parsing.errors import NotAStructure, ParseError
from pipeline.parsing.interpret import DroppedChain
from pipeline.parsing.read_chains import ParsedEntry, read_chains

PARSING_VERSION = 2
"""Rises with every change of the rules by which files become rows: a dataset is of one version."""

__all__ = [
    "PARSING_VERSION",
    "DroppedChain",
    "NotAStructure",
    "ParseError",
    "ParsedEntry",
    "read_chains",
]
