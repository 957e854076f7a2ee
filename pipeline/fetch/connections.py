"""Connections that are kept, by urllib3: through a proxy where the environment names one."""

from __future__ import annotations

import urllib.request
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from pipeline.commands.software import version_of
from pipeline.fetch.problems import FetchProblem
from pipeline.fetch.speed_guard import watch_socket


class _PlainConnection(HTTPConnection):
    def getresponse(self) -> Any:
        watch_socket(self.sock)
        return super().getresponse()


class _EncryptedConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        watch_socket(self.sock)
        return super().getresponse()


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _EncryptedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _EncryptedConnection


def user_agent() -> str:
    """Who asks, so that a server's keeper can tell."""
    own = version_of("ellipsoid-flow") or "0"
    return f"ellipsoid-flow/{own} (pipeline.fetch) urllib3/{urllib3.__version__}"


class Connections:
    """Sends requests; neither redirects nor failures are its business.

    Parameters
    ----------
    at_once : int
        Connections that are kept to a server.
    timeout : float
        Seconds to connect, and between two packets.
    """

    def __init__(self, at_once: int, timeout: float) -> None:
        # gzip is taken: what a server packs on the way is stored packed, and shorter on the way.
        headers = {"User-Agent": user_agent(), "Accept": "*/*", "Accept-Encoding": "gzip"}
        self._options: dict[str, Any] = {
            "maxsize": at_once,
            "headers": headers,
            "timeout": urllib3.Timeout(connect=timeout, read=timeout),
            "retries": False,
        }
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._proxies = urllib.request.getproxies()

    def open(self, url: str) -> urllib3.BaseHTTPResponse:
        """The answer to a GET, its content unread; the caller closes or releases it.

        Raises
        ------
        urllib3.exceptions.HTTPError
        FetchProblem
            The environment names a proxy that cannot be used.
        """
        return self._manager(url).request("GET", url, redirect=False, preload_content=False)

    def close(self) -> None:
        """Close all that are idle."""
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if proxy is not None and urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = None
        if proxy not in self._managers:
            self._managers[proxy] = self._new_manager(proxy)
        return self._managers[proxy]

    def _new_manager(self, proxy: str | None) -> urllib3.PoolManager:
        manager: urllib3.PoolManager
        if proxy is None:
            manager = urllib3.PoolManager(**self._options)
        else:
            try:
                manager = urllib3.ProxyManager(proxy, **self._options)
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                raise FetchProblem(
                    "no-connection", f"the proxy of the environment cannot be used: {error}"
                ) from None
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
        return manager
