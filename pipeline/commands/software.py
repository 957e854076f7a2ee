"""Which versions of packages are installed, for those who read a result later."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def version_of(package: str) -> str | None:
    """None for what is not installed as a package, as a mere checkout."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def version_line() -> str:
    """What ``--version`` prints."""
    return f"ellipsoid-flow {version_of('ellipsoid-flow') or 'of a checkout, not installed'}"


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Package → its version."""
    return {name: version_of(name) or "not installed as a package" for name in packages}
