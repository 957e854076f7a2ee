"""What an upgrade can be told."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.files.place import Place


@dataclass(frozen=True)
class UpgradeOptions:
    """Add the columns, and the table of interfaces, that came after a dataset was built, computed
    from its coordinates.

    Parameters
    ----------
    dataset
        Folder that pipeline.build or pipeline.subset made, on this machine; as the first word, it
        needs no option.
    buried_area
        Compute, for each pair of chains in contact, the surface that it buries; it takes a fraction
        of a second for each.
    quiet
        Show no progress.
    """

    dataset: Place
    buried_area: bool = False
    quiet: bool = False

    def check(self) -> None:
        """See that the folder is here.

        Raises
        ------
        UsageError
        """
        if self.dataset.is_uri:
            raise UsageError(
                f"{self.dataset}: give a folder of this machine; copy the dataset here, upgrade "
                "it, and copy shards/ and build.json back"
            )
