"""Frames, ellipsoids and secondary structure, for NumPy and torch alike."""
