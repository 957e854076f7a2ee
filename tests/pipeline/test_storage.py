"""Folders here and in a store: the same from outside, and whole or not at all."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.files import stores
from pipeline.files.storage import BadLocation, Folder, StorageError, open_folder, store_failure
from tests.support.places import ROOT
from tests.support.s3_server import BUCKET, S3Server

LARGE = 25 << 20
"""Bytes that go to a store in three parts."""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture(params=["here", "file URI", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> Folder:
    if request.param == "here":
        return open_folder(tmp_path / "set")
    if request.param == "file URI":
        return open_folder(f"file://{tmp_path}/a%20set")
    return open_folder(s3.uri(f"{BUCKET}/{tmp_path.name}/a%20set"))


def put(folder: Folder, name: str, content: bytes, scratch: Path) -> None:
    path = scratch / "finished"
    path.write_bytes(content)
    folder.put(name, path)
    assert not path.exists()


def test_what_was_put_is_read_listed_and_deleted(folder: Folder, scratch: Path) -> None:
    assert (folder.list(), folder.sizes("shards"), folder.exists("a")) == ((), {}, False)
    put(folder, "shards/b", b"1234", scratch)
    put(folder, "shards/a é%20+#?.bin", b"", scratch)
    put(folder, "top", b"before", scratch)
    put(folder, "top", b"after", scratch)
    assert folder.sizes("shards") == {"a é%20+#?.bin": 0, "b": 4}
    assert folder.list("shards") == ("a é%20+#?.bin", "b")
    assert folder.list() == ("top",)
    assert folder.read_bytes("top") == folder.read_bytes(Path("top")) == b"after"
    assert (folder.size("shards/b"), folder.size("shards"), folder.size("c")) == (4, None, None)
    with folder.open_input("shards/b") as file:
        assert file.read_at(2, 1) == b"23"
    folder.delete("shards/b")
    folder.delete("shards/b")
    assert not folder.exists("shards/b")
    assert folder.exists("top")


def test_a_missing_file_is_named(folder: Folder) -> None:
    for read in (folder.read_bytes, folder.open_input):
        with pytest.raises(FileNotFoundError, match=r"index\.parquet"):
            read("index.parquet")


def test_what_is_not_finished_does_not_appear(folder: Folder, scratch: Path) -> None:
    with folder.appears_whole("a/b", scratch) as path:
        path.write_bytes(b"whole")
    with suppress(ZeroDivisionError), folder.appears_whole("a/b", scratch) as path:
        path.write_bytes(b"half")
        raise ZeroDivisionError
    assert folder.read_bytes("a/b") == b"whole"
    assert list(scratch.iterdir()) == []


def test_arrow_reads_by_the_folders_filesystem(folder: Folder, scratch: Path) -> None:
    table = pa.table({"length": [1, 2, 3]})
    with folder.appears_whole("index.parquet", scratch) as path:
        pq.write_table(table, path)
    assert pq.read_table(folder.join("index.parquet"), filesystem=folder.filesystem) == table


def test_a_folder_travels_to_a_new_process(folder: Folder, scratch: Path) -> None:
    put(folder, "a", b"here", scratch)
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert {folder, open_folder(folder.uri)} == {folder}
    source = f"import pickle; print(pickle.loads({pickle.dumps(folder)!r}).read_bytes('a'))"
    result = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout == "b'here'\n"


def test_a_path_that_was_a_uri_is_one_again(s3: S3Server) -> None:
    uri = s3.uri(f"{BUCKET}/some/set")
    assert open_folder(Path(uri)) == open_folder(uri)
    assert open_folder(Path("file:///a/b")).local == Path("/a/b")
    endpoint = f"s3://{BUCKET}/some/set?endpoint_override=http://{s3.endpoint}"
    assert open_folder(Path(endpoint)) == open_folder(uri)


def test_folders_are_equal_if_they_are_the_same_place(s3: S3Server, tmp_path: Path) -> None:
    one = open_folder(s3.uri(f"{BUCKET}/set"))
    assert one == open_folder(s3.uri(f"{BUCKET}//set/"))
    assert one != open_folder(s3.uri(f"{BUCKET}/set2"))
    assert one != open_folder(tmp_path)
    assert open_folder(tmp_path) == open_folder(os.path.relpath(tmp_path))
    assert str(one) == f"s3://{BUCKET}/set"
    assert one.describe("build.json") == f"s3://{BUCKET}/set/build.json"


def test_a_relative_path_is_told_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = open_folder("out/set")
    assert (str(folder), folder.describe("a")) == ("out/set", "out/set/a")
    assert folder.root == str(tmp_path / "out/set")


def test_the_endpoint_may_be_in_the_environment(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.endpoint}/")
    assert open_folder(f"s3://{BUCKET}/set") == open_folder(s3.uri(f"{BUCKET}/set"))


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("zz://x/y", "a path, or a URI that begins with s3://, gs:// or file://"),
        (Path("s3://"), "a bucket's name is missing: s3://BUCKET/FOLDER"),
        (Path("zz://x/y"), "a path, or a URI that begins with"),
        ("s3://", "a bucket's name is missing: s3://BUCKET/FOLDER"),
        ("gs:///x", "a bucket's name is missing"),
        ("s3://key:secret@bucket/x", "credentials do not belong in a URI"),
        ("s3://bucket/x?endpoint=a", "there is no option endpoint; there are endpoint_override"),
        ("s3://bucket/x?endpoint_override=a&scheme=ftp", "scheme is http or https"),
        ("s3://bucket/x#y", "write %23 for #"),
        ("gs://bucket/x?retry_limit_seconds=never", "retry"),
    ],
)
def test_a_bad_location_is_one_sentence(location: str | Path, sentence: str) -> None:
    with pytest.raises(BadLocation) as caught:
        open_folder(location)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_bucket_is_told_from_a_missing_file(s3: S3Server, scratch: Path) -> None:
    folder = open_folder(s3.uri("nobucket/set"))
    (scratch / "file").write_bytes(b"x")
    for attempt in (
        folder.check,
        lambda: folder.read_bytes("a"),
        lambda: folder.put("a", scratch / "file"),
    ):
        with pytest.raises(StorageError, match=r"there is no (such )?bucket"):
            attempt()
    assert (scratch / "file").exists()


def test_a_refusal_speaks_of_credentials(s3: S3Server, scratch: Path) -> None:
    folder = open_folder(s3.uri(f"{BUCKET}/set"))
    s3.fail("", "", 403)
    for attempt in (
        folder.check,
        folder.sizes,
        lambda: folder.read_bytes("a"),
        lambda: put(folder, "a", b"x", scratch),
    ):
        with pytest.raises(StorageError, match=r"refuses.* AWS_ACCESS_KEY_ID"):
            attempt()


@pytest.mark.parametrize("request_", ["PUT partNumber=1", "PUT partNumber=2", "PUT partNumber=3"])
def test_an_upload_that_fails_leaves_what_was_there(
    request_: str, s3: S3Server, scratch: Path
) -> None:
    folder = open_folder(s3.uri(f"{BUCKET}/{scratch.parent.name}"))
    put(folder, "old", b"before", scratch)
    s3.fail(*request_.split(), status=403)
    for name in ("old", "new"):
        with pytest.raises(StorageError, match=f"{name} at "):
            put(folder, name, bytes(LARGE), scratch)
    s3.work()
    gc.collect()  # whatever is let go of late
    assert s3.objects(BUCKET, scratch.parent.name) == {"old": b"before"}
    assert [r for r in s3.requests() if r.startswith(("PUT", "POST"))] == []


def test_an_upload_that_cannot_be_completed_leaves_something_whole(
    s3: S3Server, scratch: Path
) -> None:
    folder = open_folder(s3.uri(f"{BUCKET}/{scratch.parent.name}"))
    put(folder, "old", b"before", scratch)
    s3.fail("POST", "uploadId=", 500)
    with pytest.raises(StorageError, match="the server fails"):
        put(folder, "old", bytes(LARGE), scratch)
    s3.work()
    gc.collect()
    assert s3.objects(BUCKET, scratch.parent.name)["old"] in (b"before", bytes(LARGE))


@pytest.mark.slow
def test_an_interrupted_upload_is_whole_or_nothing(s3: S3Server, scratch: Path) -> None:
    folder = open_folder(s3.uri(f"{BUCKET}/{scratch.parent.name}"))
    path = scratch / "finished"
    content = os.urandom(LARGE)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for k, seconds in enumerate((0.001, 0.01, 0.05, 0.1)):
            path.write_bytes(content)
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                folder.put(str(k), path)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            gc.collect()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    assert set(folder.sizes().values()) <= {LARGE}


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_given_up(
    s3: S3Server, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SILENCE_SECONDS", 1.0)
    folder = open_folder(s3.uri(f"{BUCKET}/set"))
    started = time.monotonic()
    s3.pause()
    try:
        with pytest.raises(StorageError, match=f"{s3.endpoint}: the server does not answer"):
            folder.size("a")
    finally:
        s3.resume()
    nobody = open_folder(f"s3://{BUCKET}/set?endpoint_override=127.0.0.1:1&scheme=http")
    with pytest.raises(StorageError, match="does not answer"):
        put(nobody, "a", b"x", scratch)
    assert time.monotonic() - started < 20


def test_a_silence_is_short_enough_by_default() -> None:
    assert stores.ATTEMPTS * (stores.CONNECT_SECONDS + stores.SILENCE_SECONDS) <= 60
    assert stores.GCS_RETRY_SECONDS <= 60


def test_google_without_a_server_is_one_sentence() -> None:
    uri = "gs://anonymous-bucket/set?endpoint_override=127.0.0.1:1&scheme=http"
    folder = open_folder(f"{uri}&retry_limit_seconds=1")
    with pytest.raises(StorageError) as caught:
        folder.check()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("gs://anonymous-bucket/set: ")
    assert pickle.loads(pickle.dumps(folder)) == folder


def test_errors_of_the_content_are_not_the_stores() -> None:
    assert store_failure(OSError("Couldn't deserialize thrift"), "x") is None
    with pytest.raises(OSError, match="thrift"), open_folder("here").errors_named("x"):
        raise OSError("Couldn't deserialize thrift")


def test_a_local_put_replaces_at_once(tmp_path: Path, scratch: Path) -> None:
    """A reader that has the old file open keeps it whole."""
    folder = open_folder(tmp_path / "set")
    put(folder, "a", b"before", scratch)
    with folder.open_input("a") as file:
        put(folder, "a", b"after!", scratch)
        assert file.read() == b"before"
    with suppress(FileNotFoundError):
        folder.delete("a")
    assert folder.list() == ()
