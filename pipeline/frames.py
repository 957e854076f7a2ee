"""The old name of `pipeline.geometry.frames`, which stays for a release."""

from warnings import warn

from pipeline.geometry.frames import *  # noqa: F403

warn("pipeline.frames is pipeline.geometry.frames now", DeprecationWarning, stacklevel=2)
