"""A real S3 server on loopback: moto's, in a process of its own, with faults to order.

It is a process because Arrow talks to a store while it holds Python's lock (whenever a stream is
let go of), and a server in the same process could not answer then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

_CONTROL = "/_control/"
BUCKET = "bucket"
"""Of tests that need one, whatever its name."""


class S3Server:
    """The server, as tests see it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Serve, at the port of before if there was one, with nothing stored."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.port)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """As if the machine had lost its power."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def pause(self) -> None:
        """It takes connections, and is silent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """The end of `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def uri(self, path: str) -> str:
        """URI of ``bucket/prefix`` on this server."""
        return f"s3://{path}?endpoint_override={self.endpoint}&scheme=http"

    def make_bucket(self, name: str) -> str:
        self._client().create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """What is stored under a prefix, by the rest of its key (markers of folders left out)."""
        client = self._client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [o["Key"] for page in pages for o in page.get("Contents", ())]
        return {
            key.removeprefix(prefix).lstrip("/"): self.get(bucket, key)
            for key in keys
            if not key.endswith("/")
        }

    def get(self, bucket: str, key: str) -> bytes:
        return self._client().get_object(Bucket=bucket, Key=key)["Body"].read()

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._client().put_object(Bucket=bucket, Key=key, Body=content)

    def delete(self, bucket: str, key: str) -> None:
        self._client().delete_object(Bucket=bucket, Key=key)

    def fail(self, method: str, substring: str, status: int = 500, after: int = 0) -> None:
        """From now on requests fail whose path and query contain something.

        Parameters
        ----------
        method, substring : str
            Empty: any.
        status : int
        after : int
            So many of them pass first.
        """
        self._control("fail", [method, substring, status, after])

    def delay(self, seconds: float) -> None:
        """From now on each request takes so much longer, as over a network."""
        self._control("delay", seconds)

    def work(self) -> None:
        """Nothing fails or is delayed any more, and the requests so far are forgotten."""
        self._control("work", None)

    def requests(self) -> list[str]:
        """Method, path and query of each request since `work`."""
        return self._control("requests", None)

    def _control(self, what: str, value: Any) -> Any:
        url = f"http://{self.endpoint}{_CONTROL}{what}"
        with urllib.request.urlopen(url, json.dumps(value).encode(), timeout=10) as answer:
            return json.load(answer)

    def _client(self) -> Any:
        """Another view of the store than ours."""
        return boto3.client("s3", endpoint_url=f"http://{self.endpoint}", region_name="us-east-1")


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server until the block ends; credentials are in the environment meanwhile."""
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "PROFILE", "SESSION_TOKEN", "REGION"):
            patch.delenv(f"AWS_{name}", raising=False)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _serve(port: int) -> None:
    """Run the server in this process, until it is killed or its parent is gone."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log(self, *_: object, **__: object) -> None: ...

    moto = DomainDispatcherApplication(create_backend_app)
    requests: list[str] = []
    faults: list[list] = []
    delay = [0.0]

    def application(request: dict, start_response: Callable) -> Iterable[bytes]:
        path = request["PATH_INFO"]
        body = int(request.get("CONTENT_LENGTH") or 0)
        if path.startswith(_CONTROL):
            value = json.loads(request["wsgi.input"].read(body))
            start_response("200 OK", [("Content-Type", "application/json")])
            if path.endswith("requests"):
                return [json.dumps(requests).encode()]
            if path.endswith("fail"):
                faults.append(value)
            elif path.endswith("delay"):
                delay[0] = value
            else:
                faults.clear()
                delay[0] = 0.0
                requests.clear()
            return [b"null"]
        asked = path + (f"?{request['QUERY_STRING']}" if request["QUERY_STRING"] else "")
        method = request["REQUEST_METHOD"]
        requests.append(f"{method} {asked}")
        time.sleep(delay[0])
        for fault in faults:
            if fault[0] in ("", method) and fault[1] in asked:
                fault[3] -= 1
                if fault[3] < 0:
                    request["wsgi.input"].read(body)
                    return _refuse(start_response, fault[2])
        return moto(request, start_response)

    listener = make_server("127.0.0.1", port, application, threaded=True, request_handler=Silent)
    print(listener.server_port, flush=True)
    listener.timeout = 1
    parent = os.getppid()
    while os.getppid() == parent:
        listener.handle_request()


def _refuse(start_response: Callable, status: int) -> Iterable[bytes]:
    code = {403: "AccessDenied", 503: "SlowDown"}.get(status, "InternalError")
    start_response(f"{status} on purpose", [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()]


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
