"""A finished dataset, opened for commands that read it: its ``build.json``, index and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.built.build_summary import BuildSummary, NotASummary, OtherSchema
from pipeline.errors import Failure
from pipeline.files.storage import Folder, Location, open_folder, store_failure
from pipeline.interfaces import FILE_NAME as INTERFACES


class UnreadableDataset(Failure):
    """A folder is no finished dataset, or not one that this program reads. One sentence."""


@dataclass(frozen=True, slots=True)
class BuiltDataset:
    """What a build, or `pipeline.subset`, left in a folder.

    Attributes
    ----------
    folder : Folder
    build : BuildSummary
        ``build.json``.
    """

    folder: Folder
    build: BuildSummary

    @classmethod
    def open(cls, location: Location) -> BuiltDataset:
        """Open a folder here or in a store.

        Raises
        ------
        UnreadableDataset
        BadLocation, StorageError
            See `open_folder`.
        """
        folder = open_folder(location)
        try:
            build = BuildSummary.from_json(folder.read_bytes("build.json"))
        except (FileNotFoundError, NotADirectoryError):
            raise UnreadableDataset(
                f"{folder}: has no build.json, so this is no finished dataset; give the --out-dir "
                "of `python -m pipeline.build`, and run that again if it was not finished"
            ) from None
        except NotASummary:
            raise UnreadableDataset(
                f"{folder.describe('build.json')}: is damaged; run the command that made the "
                "dataset again"
            ) from None
        except OtherSchema as other:
            raise UnreadableDataset(
                f"{folder}: {other}; build the dataset again, or use the version of the program "
                "that built it"
            ) from None
        names = [shard.name for shard in build.shards]
        if any(name != PurePath(name).name or name == ".." for name in names):
            # What is made beside a shard has its name, and must not lie elsewhere.
            raise UnreadableDataset(f"{folder.describe('build.json')}: names a shard with a folder")
        return cls(folder, build)

    def index(self) -> pa.Table:
        """``index.parquet``, all columns.

        Raises
        ------
        UnreadableDataset
        """
        return self.table("index.parquet").replace_schema_metadata(None)

    def interfaces(self) -> pa.Table | None:
        """``interfaces.parquet``; None where the dataset was built before there was one.

        Raises
        ------
        UnreadableDataset
        """
        if self.build.interfaces_digest is None:
            return None
        return self.table(INTERFACES).replace_schema_metadata(None)

    def schema(self, name: str) -> pa.Schema:
        """Columns of one of the tables beside the shards, with its metadata."""
        with self._opened(name) as file:
            return file.schema_arrow

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One of the tables beside the shards with its metadata, checksums verified.

        Parameters
        ----------
        name : str
        columns : sequence of str, optional
            Those that are read, instead of all.

        Raises
        ------
        UnreadableDataset
        StorageError
        """
        with self._opened(name) as file:
            return file.read(columns=None if columns is None else list(columns))

    @contextmanager
    def _opened(self, name: str) -> Iterator[pq.ParquetFile]:
        folder = self.folder
        try:
            with pq.ParquetFile(
                folder.join(name), filesystem=folder.filesystem, page_checksum_verification=True
            ) as file:
                yield file
            return
        except FileNotFoundError:
            why = "is missing"
        except (OSError, ValueError, pa.ArrowException) as error:
            if (failure := store_failure(error, folder.describe(name))) is not None:
                raise failure from error
            why = str(error).splitlines()[0]
        raise UnreadableDataset(
            f"{folder.describe(name)}: {why}; the file is missing or damaged: "
            f"`python -m pipeline.verify {folder}` says what else is, and mends it with --repair"
        )
