"""What a subset can be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pipeline.commands.checks import check_at_least, check_no_file
from pipeline.errors import UsageError
from pipeline.files.place import Place
from pipeline.subset.choose import NAMED

_REPLACEABLE = re.compile(
    r"shards|\.build|(index|inputs|drops|plan|interfaces|splits)\.parquet|build\.json|options\.yaml"
    r"|report(-chains)?\.html"
)
"""What the commands of the pipeline put into a dataset's folder."""

Names: TypeAlias = list[str]
"""Named here, for in the class below `list` is an option."""


@dataclass(frozen=True)
class SubsetOptions:
    """Make a dataset of some chains of one or several others.

    Parameters
    ----------
    sources
        Folders that pipeline.build or pipeline.subset made; as the first words, they need no
        option.
    out_dir
        Folder of the new dataset; it appears when all of it is there.
    where
        Keep the chains that fulfil a condition on columns of the index, such as "resolution < 2
        and length between 60 and 512".
    list
        Keep the chains of a list: a CSV with a column chain_uid, or entry_id and optionally chain;
        or a text with a chain_uid or an entry_id a line.
    shard_size
        Size of a shard in MiB, about; an entry is never cut.
    allow_mixed
        Join datasets although they were built with different tables of residues, or with different
        assemblies.
    report
        Write report.html, a page about the dataset, when it is finished.
    overwrite
        Replace the dataset that --out-dir holds.
    """

    sources: Names
    out_dir: Place
    where: str | None = None
    list: Path | None = None
    shard_size: int = 128
    allow_mixed: bool = False
    report: bool = True
    overwrite: bool = False

    def check(self) -> None:
        """See that the new dataset can take its place, and deletes nothing else.

        Raises
        ------
        UsageError
        """
        check_at_least(self, shard_size=1)
        if self.out_dir.is_uri:
            raise UsageError(
                f"--out-dir {self.out_dir}: give a folder of this machine, and copy it there then"
            )
        out = Path(self.out_dir)
        check_no_file("out_dir", out)
        content = sorted(path.name for path in out.iterdir()) if out.exists() else []
        if content and not self.overwrite:
            raise UsageError(f"--out-dir {out} is not empty; give another, or --overwrite")
        strange = [name for name in content if not _REPLACEABLE.fullmatch(name)]
        if strange:
            raise UsageError(
                f"--out-dir {out} holds what is of no dataset ({', '.join(strange[:NAMED])}), and "
                "is not deleted; give another"
            )
