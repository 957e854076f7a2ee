"""One attempt: a URL → a file in scratch space, or a `FetchProblem` that says what came instead."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader

from pipeline.commands.words import MEBIBYTE
from pipeline.fetch.connections import Connections
from pipeline.fetch.pace import Pace
from pipeline.fetch.problems import CannotWrite, FetchProblem, Stopped
from pipeline.fetch.speed_guard import SpeedGuard, Transfer

MOST_REDIRECTS = 5
LONGEST_PAUSE = 600.0
"""Seconds; a server that asks for more is asked again by the next run."""
_PIECE = 1 << 16
_NETWORK_ERRORS = (HTTPError, http.client.HTTPException, OSError, UnicodeError)


class Downloader:
    """Downloads files, for several threads.

    Parameters
    ----------
    connections : Connections
    pace : Pace
        Every request waits for its turn, redirects and further attempts too.
    guard : SpeedGuard
    max_bytes : int
        Largest file.
    """

    def __init__(
        self, connections: Connections, pace: Pace, guard: SpeedGuard, max_bytes: int
    ) -> None:
        self._connections, self._pace, self._guard = connections, pace, guard
        self._max_bytes = max_bytes

    def download(self, url: str, path: Path) -> bool:
        """Write what is behind `url` to `path`.

        Returns
        -------
        bool
            Whether the answer said where it ends. If not, only the content can tell.

        Raises
        ------
        FetchProblem
        CannotWrite
        Stopped
        """
        with (
            self._guard.transfer() as transfer,
            self._answer(url, transfer) as response,
        ):
            _check_status(response)
            claimed = response.headers.get("Content-Length", "")
            if claimed.isdecimal() and int(claimed) > self._max_bytes:
                raise self._too_large(f"the server announces {int(claimed):,} bytes")
            try:
                with open(path, "wb") as file:
                    for piece in self._pieces(response, transfer):
                        file.write(piece)
            except OSError as error:  # those of the network have become problems
                raise CannotWrite(f"cannot write {path}: {error.strerror}") from error
            chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            return chunked or claimed.isdecimal()

    @contextmanager
    def _answer(self, url: str, transfer: Transfer) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer at the end of all redirects."""
        for _ in range(MOST_REDIRECTS + 1):
            self._pace.wait_for_turn()
            with self._explained(transfer):
                response = self._connections.open(url)
            target = response.get_redirect_location()
            if not target:
                break
            response.close()  # its content may be endless
            url = redirected(url, target)
        else:
            raise FetchProblem(
                "redirect", f"more than {MOST_REDIRECTS} redirects, the last one to {url}"
            )
        try:
            yield response
        finally:
            # A connection whose answer was read up has been given back, and stays open.
            response.close()

    def _pieces(self, response: urllib3.BaseHTTPResponse, transfer: Transfer) -> Iterator[bytes]:
        """What is answered, as it is: what was packed on the way stays packed."""
        while True:
            with self._explained(transfer):
                # One packet: a read that waits until it is full would not let us count.
                piece = response.read1(_PIECE, decode_content=False)
            if not piece:
                return
            transfer.n_bytes += len(piece)
            if transfer.n_bytes > self._max_bytes:
                raise self._too_large("the download goes on")
            yield piece

    @contextmanager
    def _explained(self, transfer: Transfer) -> Iterator[None]:
        """Tell what an error of the network means."""
        failed: Exception | None = None
        try:
            yield
        except _NETWORK_ERRORS as error:
            failed = error
        # A socket that was shut down, by the guard or at the end, looks like the file's end.
        if self._pace.stopped:
            raise Stopped from failed
        if transfer.too_slow:
            raise _too_slow(transfer) from failed
        if failed is not None:
            raise _network_problem(failed, transfer) from failed

    def _too_large(self, what: str) -> FetchProblem:
        limit = self._max_bytes // MEBIBYTE
        return FetchProblem(
            "too-large", f"{what} beyond the limit of {limit:,} MiB; raise --max-file-size"
        )


def _too_slow(transfer: Transfer) -> FetchProblem:
    came = f"{transfer.n_bytes:,} bytes came, and then too few" if transfer.n_bytes else "no answer"
    what = f"{came}; raise --timeout if the network is slow"
    return FetchProblem("timeout", what, transient=True)


def redirected(url: str, target: str) -> str:
    """Where a redirect leads.

    Raises
    ------
    FetchProblem
        It leads away from http and https, or from an encrypted connection to a plain one.
    """
    try:
        new = urljoin(url, target)
        parts = urlsplit(new)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise FetchProblem("redirect", f"{url} redirects to {target!r}, which is no URL") from None
    schemes = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    if parts.scheme not in schemes or not host:
        allowed = " or ".join(schemes)
        raise FetchProblem(
            "redirect", f"{url} redirects to {target!r}; only {allowed} is followed from there"
        )
    return new


def _check_status(response: urllib3.BaseHTTPResponse) -> None:
    status = response.status
    if status == 200:
        return
    said = f"the server answers {status} {response.reason or ''}".strip()
    if status in (404, 410):
        raise FetchProblem(
            "not-found",
            f"{said}: the entry may be obsolete or superseded, misspelt, not released yet, or not "
            "to be had in this format",
        )
    pause = _pause(response)
    if status in (429, 503) and (pause is not None or status == 429):
        if pause is not None and pause > LONGEST_PAUSE:
            what = f"{said} and asks to wait for {pause:,.0f} s; run the same command then"
            raise FetchProblem("busy", what)
        raise FetchProblem("busy", f"{said}: too many requests", transient=True, pause=pause)
    if status == 408 or status >= 500:
        raise FetchProblem("server-error", said, transient=True)
    raise FetchProblem("refused", f"{said}; is the URL right, and may you see it?")


def _pause(response: urllib3.BaseHTTPResponse) -> float | None:
    """Seconds of ``Retry-After``, which are given as such or as a date."""
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, urllib3.Retry().parse_retry_after(value))
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _network_problem(error: Exception, transfer: Transfer) -> FetchProblem:
    told = " ".join(str(error).split()) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in told:
        what = "the server's certificate is not trusted; is there a proxy that needs its own (set "
        return FetchProblem("bad-certificate", f"{what}SSL_CERT_FILE)? {told}")
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return FetchProblem("timeout", f"the server went silent: {told}", transient=True)
    if transfer.n_bytes:
        what = f"the connection broke off after {transfer.n_bytes:,} bytes"
        return FetchProblem("truncated", f"{what}: {told}", transient=True)
    return FetchProblem("no-connection", told, transient=True)
