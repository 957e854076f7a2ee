"""Dask and Ray, as far as a build needs them: hand out a call, hear of its end.

Their own interfaces and not joblib's backends for them, which lose the end of a call whose worker
dies for good (Dask: `joblib.Parallel` waits for ever, joblib 1.6), or with one worker the calls of
all the others (Ray, whose backend cannot give results as they come either).
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline.crew.crew import WorkersFail
from pipeline.errors import UsageError
from pipeline.extras import pip_line

_PACKAGES = Path(__file__).parents[2]

CONNECT_SECONDS = 30.0
WORKERS_SECONDS = 60.0
"""So long is a first worker waited for."""

ADDRESSES = {
    "dask": "the scheduler's address (tcp://host:8786), or its scheduler file",
    "ray": "the head's address (host:6379, ray://host:10001), or auto for the cluster that this "
    "machine is part of",
}


class WorkerLost(Exception):
    """The worker that had a call is gone; somebody else may be given it."""


class Cluster(Protocol):
    """A cluster that runs already.

    Attributes
    ----------
    tries : int
        Workers that a call may take with it before its end is `WorkerLost`.
    """

    tries: int

    def n_slots(self) -> int:
        """Calls that it runs at once, now."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Hand out a call; the handle that `finished` and `result` take."""

    def finished(self, handles: Collection[Any], seconds: float) -> list[Any]:
        """Those that have ended, as soon as there are any, or none."""

    def result(self, handle: Any) -> Any:
        """What the call returned or raised.

        Raises
        ------
        WorkerLost
        """

    def cancel(self, handles: Collection[Any]) -> None:
        """Nobody waits for these any more."""


@contextlib.contextmanager
def connected(backend: Literal["dask", "ray"], address: str) -> Iterator[Cluster]:
    """A cluster by its address, until the end of the block.

    Raises
    ------
    UsageError
        The extra is not installed, or nothing answers there.
    """
    with _dask(address) if backend == "dask" else _ray(address) as cluster:
        yield cluster


def check_installed(backend: str) -> None:
    """See that the extra is there.

    Raises
    ------
    UsageError
    """
    try:
        __import__({"dask": "distributed", "ray": "ray"}[backend])
    except ImportError as error:
        raise UsageError(
            f"--backend {backend} needs an extra: {pip_line(backend)} ({error})"
        ) from error


def _no_answer(backend: str, address: str, error: Exception) -> UsageError:
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return UsageError(
        f"no {backend.capitalize()} cluster answers at --address {address}; give "
        f"{ADDRESSES[backend]} ({why})"
    )


# ---- Dask -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Cluster]:
    from distributed import Client

    is_file = Path(address).is_file()
    if not is_file and ":" not in address:
        raise UsageError(f"--address {address} is no file; give {ADDRESSES['dask']}")
    where = {"scheduler_file": address} if is_file else {"address": address}
    try:
        client = Client(**where, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise _no_answer("dask", address, error) from error
    # What becomes of a worker is said by the build; the client's own words would come on top.
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError as error:
            raise UsageError(f"the Dask cluster at {address} has no workers") from error
        yield _Dask(client)
    finally:
        client.close(timeout=5)


class _Dask:
    tries = 4  # `distributed.scheduler.allowed-failures` of 3, and one more

    def __init__(self, client: Any) -> None:
        self._client = client

    def n_slots(self) -> int:
        return sum(self._client.nthreads().values())

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        # Worked at once and once only: the same call later is another one.
        return self._client.submit(function, *arguments, pure=False)

    def finished(self, handles: Collection[Any], seconds: float) -> list[Any]:
        from distributed import wait

        with self._client.as_current(), contextlib.suppress(TimeoutError):
            wait(list(handles), timeout=seconds, return_when="FIRST_COMPLETED")
        return [h for h in handles if h.status != "pending"]

    def result(self, handle: Any) -> Any:
        from distributed import CancelledError, KilledWorker

        if handle.status in ("lost", "cancelled"):
            raise WorkersFail("the Dask scheduler is gone, or somebody has cancelled the build")
        try:
            return handle.result(timeout=CONNECT_SECONDS)
        except KilledWorker as error:
            raise WorkerLost(str(error)) from error
        except (CancelledError, TimeoutError, OSError) as error:
            raise WorkersFail(f"the Dask scheduler does not answer any more ({error})") from error

    def cancel(self, handles: Collection[Any]) -> None:
        with contextlib.suppress(Exception):  # a scheduler that is gone has forgotten them
            self._client.cancel(list(handles), force=True)


# ---- Ray --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _ray(address: str) -> Iterator[Cluster]:
    with _handlers_kept():
        import ray

        is_ours = not ray.is_initialized()
        try:
            if is_ours:
                with contextlib.chdir(_folder_of_workers()):
                    ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # of several kinds, by Ray's version and the address
            raise _no_answer("ray", address, error) from error
    try:
        yield _Ray(ray)
    finally:
        if is_ours:
            ray.shutdown()


def _folder_of_workers() -> Path:
    """Where to be when Ray is started: it has its workers import from there before all else, and a
    pipeline.py of somebody's in the working folder is not what they are to load."""
    here = Path.cwd()
    return here if here == _PACKAGES else Path(here.root)


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and would end the command without its last words."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Ray:
    tries = 1

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._remote: dict[Callable[..., Any], Any] = {}

    def n_slots(self) -> int:
        return int(self._ray.cluster_resources().get("CPU", 0))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if function not in self._remote:
            self._remote[function] = self._ray.remote(num_cpus=1, max_retries=0)(function)
        return self._remote[function].remote(*arguments)

    def finished(self, handles: Collection[Any], seconds: float) -> list[Any]:
        done, _ = self._ray.wait(list(handles), num_returns=1, timeout=seconds)
        return done

    def result(self, handle: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(handle)
        except RayTaskError as error:
            raise error.cause or error from error
        except RayError as error:
            raise WorkerLost(" ".join(str(error).split())[:300]) from error

    def cancel(self, handles: Collection[Any]) -> None:
        """Nothing: with its connection end the calls of a driver, queued or running. To cancel them
        one by one by force aborts this process now and then, by a check in Ray's core (2.60)."""
