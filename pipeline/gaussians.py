"""The old name of `pipeline.geometry.gaussians`, which stays for a release."""

from warnings import warn

from pipeline.geometry.gaussians import *  # noqa: F403

warn("pipeline.gaussians is pipeline.geometry.gaussians now", DeprecationWarning, stacklevel=2)
