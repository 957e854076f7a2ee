"""Connections to object stores, by URI: ``s3://bucket/prefix``, ``gs://bucket/prefix``."""

from __future__ import annotations

import os
import re
import urllib.parse
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs

from pipeline.files.store_errors import ATTEMPTS, CREDENTIALS, BadLocation, store_failure

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 15.0
"""A connection over which nothing comes for so long is given up (and tried again)."""
GCS_RETRY_SECONDS = 30
"""Google's client would go on for fifteen minutes."""

_S3_OPTIONS = ("endpoint_override", "region", "scheme")
_GCS_OPTIONS = ("endpoint_override", "project_id", "retry_limit_seconds", "scheme")


class Connection(NamedTuple):
    """A folder of a store: what `Folder` is made of.

    Attributes
    ----------
    filesystem : pyarrow.fs.FileSystem
    root : str
        ``bucket/prefix``.
    location, query : str
        Its URI, and behind the question mark what it takes to connect again.
    """

    filesystem: pyarrow.fs.FileSystem
    root: str
    location: str
    query: str


def connect(scheme: str, text: str) -> Connection:
    """Connect to the store of a URI whose scheme is ``s3``, ``gs`` or ``gcs``.

    Raises
    ------
    BadLocation, StorageError
    """
    return _s3(text) if scheme == "s3" else _gcs(text)


def _s3(text: str) -> Connection:
    bucket, prefix, options = _parse(text, _S3_OPTIONS)
    endpoint = (
        options.get("endpoint_override")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or ""
    )
    # One slash is what pathlib leaves.
    given = re.match(r"(?:(\w+):/+)?([^/]*)", endpoint)
    assert given is not None
    scheme, host = options.get("scheme") or given[1] or "https", given[2]
    if scheme not in ("http", "https"):
        raise BadLocation(f"{text}: scheme is http or https")
    region = options.get("region")
    if region is None and host:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if region is None:
        try:
            region = pyarrow.fs.resolve_s3_region(bucket)
        except OSError as error:
            raise store_failure(error, f"s3://{bucket}") or error from error
    filesystem = pyarrow.fs.S3FileSystem(
        region=region,
        endpoint_override=host or None,
        scheme=scheme,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENCE_SECONDS,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        # A stream that writes in the foreground forgets that a part failed, and publishes the
        # others when it is closed (pyarrow 26).
        background_writes=True,
    )
    values = {"endpoint_override": host, "region": region, "scheme": scheme}
    return _connection(filesystem, "s3", bucket, prefix, values)


def _gcs(text: str) -> Connection:
    bucket, prefix, options = _parse(text, _GCS_OPTIONS)
    options.setdefault("retry_limit_seconds", str(GCS_RETRY_SECONDS))
    query = urllib.parse.urlencode(options)
    try:
        filesystem, _ = pyarrow.fs.FileSystem.from_uri(f"gs://{bucket}?{query}")
    except (pa.ArrowException, ValueError) as error:
        raise BadLocation(f"{text}: {str(error).splitlines()[0]}") from error
    return _connection(filesystem, "gs", bucket, prefix, options)


def _connection(
    filesystem: pyarrow.fs.FileSystem,
    scheme: str,
    bucket: str,
    prefix: str,
    options: dict[str, Any],
) -> Connection:
    location = "/".join([f"{scheme}://{bucket}", *([urllib.parse.quote(prefix)] if prefix else [])])
    query = urllib.parse.urlencode({k: v for k, v in sorted(options.items()) if v}, safe=":")
    root = f"{bucket}/{prefix}" if prefix else bucket
    return Connection(filesystem, root, location, query)


def _parse(text: str, known: tuple[str, ...]) -> tuple[str, str, dict[str, str]]:
    """Bucket, prefix and options of a URI."""
    parts = urllib.parse.urlsplit(text)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "@" in parts.netloc:
        raise BadLocation(
            f"{shown}: credentials do not belong in a URI, which is written beside a dataset; "
            f"{CREDENTIALS}"
        )
    if parts.fragment:
        raise BadLocation(f"{shown}: write %23 for # in a URI")
    if not parts.netloc:
        raise BadLocation(f"{shown}: a bucket's name is missing: {parts.scheme}://BUCKET/FOLDER")
    options = {}
    for key, value in urllib.parse.parse_qsl(parts.query, keep_blank_values=True):
        if key not in known:
            raise BadLocation(f"{shown}: there is no option {key}; there are {', '.join(known)}")
        options[key] = value
    prefix = urllib.parse.unquote(parts.path)
    return parts.netloc, "/".join(p for p in prefix.split("/") if p), options
