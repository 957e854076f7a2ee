"""``python -m pipeline.export``: chains of a dataset back to PDB, mmCIF, FASTA, or a web page."""
