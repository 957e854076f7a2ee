"""The old name of `pipeline.files.storage`, which stays for a release."""

from warnings import warn

from pipeline.files.storage import *  # noqa: F403

warn("pipeline.storage is pipeline.files.storage now", DeprecationWarning, stacklevel=2)
