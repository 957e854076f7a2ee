"""Bytes of a structure file → chains, by the parsing policy of the documentation."""

from pipeline.parsing.errors import NotAStructure, ParseError
from pipeline.parsing.interpret import DroppedChain
from pipeline.parsing.read_chains import ParsedEntry, read_chains

__all__ = ["DroppedChain", "NotAStructure", "ParseError", "ParsedEntry", "read_chains"]
