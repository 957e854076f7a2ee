"""What stores say when something fails, in sentences for people."""

from __future__ import annotations

import re

from pipeline.errors import Failure, UsageError

ATTEMPTS = 3

CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or for gs:// "
    "GOOGLE_APPLICATIONCREDENTIALS"
)
_MEANINGS = (
    (r"NO_SUCH_BUCKET|NoSuchBucket|Bucket '.*' not found", "there is no such bucket"),
    (
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN|EXPIRED_TOKEN"
        r"|ExpiredToken|UNAUTHENTICATED|OAuth2 access token",
        f"the store does not know these credentials, or there are none; {CREDENTIALS}",
    ),
    (
        r"ACCESS_DENIED|PERMISSION_DENIED|HTTP status 40[13]|\b40[13] ",
        f"the store refuses: these credentials do not allow it, or there are none; {CREDENTIALS}",
    ),
    (
        r"curlCode: 6\b|CURL error \[6\]|resolve host",
        "the server's name is not known; is the endpoint right, and this machine on the network?",
    ),
    (
        r"NETWORK_CONNECTION|REQUEST_TIMEOUT|CURL error|UNAVAILABLE.*(connect|[Tt]imeout)",
        "the server does not answer; is the endpoint right, and the server running?",
    ),
    (
        r"PERMANENT_REDIRECT|PermanentRedirect|AUTHORIZATION_HEADER_MALFORMED|HTTP status 301",
        "the bucket is in another region; add ?region=NAME to the URI",
    ),
    (
        r"INTERNAL_FAILURE|InternalError|SERVICE_UNAVAILABLE|SLOW_DOWN|HTTP status 5\d\d"
        r"|UNAVAILABLE|HTTP response code 5\d\d",
        f"the server fails, {ATTEMPTS} times in a row; try again later",
    ),
)


class BadLocation(UsageError):
    """What was given names no folder; the sentence says what would."""


class StorageError(Failure, OSError):
    """A store does not answer, has no such bucket, or refuses. One sentence for people."""


def store_failure(error: Exception, what: str) -> StorageError | None:
    """What a store's error means, or None if the error is not of the store.

    Parameters
    ----------
    error : Exception
        From Arrow, whose words differ between stores and are all there is to go by.
    what : str
        Begins the sentence.
    """
    if isinstance(error, StorageError):
        return error
    text = " ".join(str(error).split())
    if not re.search(r"AWS Error|google::cloud|resolving region|Bucket '.*' not found", text):
        return None
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, text):
            return StorageError(f"{what}: {meaning}")
    details = re.search(r"AWS Error (.*)", text)
    said = details[1] if details else text
    return StorageError(f"{what}: the store says {said[:300]}")
