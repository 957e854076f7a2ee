"""Downloads: what arrives, what is refused, and what is left when server or command misbehave."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import io
import ipaddress
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import pipeline.files.atomic
from pipeline.fetch import content, fetch_entry, speed_guard
from pipeline.fetch.command import GIVE_UP_AFTER, main
from pipeline.fetch.content import check_content
from pipeline.fetch.download import MOST_REDIRECTS, redirected
from pipeline.fetch.entry_ids import BadEntryId, alphafold_entry, pdb_entry
from pipeline.fetch.options import FetchOptions
from pipeline.fetch.problems import FetchProblem
from pipeline.fetch.servers import ADDRESSES, NoSuchAddress, fill_in, url_pattern
from pipeline.fetch.state import Row
from pipeline.sources import discover
from tests.support import structure_server as servers
from tests.support.places import EXAMPLES, ROOT
from tests.support.structure_server import StructureServer, structure_server

GBT = (EXAMPLES / "1gbt.bcif.gz").read_bytes()
PLAIN = gzip.decompress(GBT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StructureServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(fetch_entry, "FIRST_PAUSE", 0.02)
    with structure_server() as told:
        told.files["/1gbt.bcif.gz"] = GBT
        told.files["/3jqh.bcif.gz"] = gzip.compress((EXAMPLES / "3jqh.bcif").read_bytes(), 1)
        yield told


class Fetch:
    """The command, in this process, and what it left."""

    def __init__(self, folder: Path, server: StructureServer) -> None:
        self.out, self._folder, self._server = folder / "out", folder, server

    def arguments(self, *entries: str, **options: object) -> list[str]:
        manifest = self._folder / "wanted.csv"
        with open(manifest, "w", newline="") as file:
            csv.writer(file).writerows([["entry_id"], *([e] for e in entries)])
        values = {"per_second": 1000, "mirror": self._server.url, **options}
        words = ["--manifest", str(manifest), "--out-dir", str(self.out), "--quiet"]
        for name, value in values.items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}={value}"]
        return words

    def __call__(self, *entries: str, **options: object) -> int:
        return main(self.arguments(*entries, **options))

    def rows(self) -> dict[str, dict[str, str]]:
        with open(self.out / ".fetch" / "fetch.csv", newline="") as file:
            return {row["entry_id"]: row for row in csv.DictReader(file)}

    def files(self) -> list[str]:
        """What a build would find."""
        return sorted(file.path for file in discover(self.out).files)

    def leftovers(self) -> list[Path]:
        return list((self.out / ".fetch" / "scratch").iterdir())


@pytest.fixture
def fetch(tmp_path: Path, server: StructureServer) -> Fetch:
    return Fetch(tmp_path, server)


def reason(fetch: Fetch, entry: str = "1gbt") -> str:
    row = fetch.rows()[entry]
    assert row["status"] == "failed"
    assert row["message"]
    assert fetch.files() == []
    assert fetch.leftovers() == []
    return row["reason"]


# --- what arrives ------------------------------------------------------------------------------


def test_entries_arrive_byte_for_byte_and_are_recorded(
    fetch: Fetch, server: StructureServer
) -> None:
    assert fetch("1GBT", "3jqh") == 0
    assert fetch.files() == ["1gbt.bcif.gz", "3jqh.bcif.gz"]
    assert (fetch.out / "1gbt.bcif.gz").read_bytes() == GBT
    row = fetch.rows()["1gbt"]
    assert list(row) == [f.name for f in fields(Row)]
    assert row["status"] == "fetched"
    assert row["url"] == f"{server.url}/1gbt.bcif.gz"
    assert row["sha256"] == hashlib.sha256(GBT).hexdigest()
    assert (int(row["bytes"]), row["attempts"]) == (len(GBT), "1")
    assert server.requests[0].headers["User-Agent"].startswith("ellipsoid-flow/")


def test_the_last_line_says_how_many_failed(
    fetch: Fetch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch("1gbt", "9zzz") == 1
    out = capfd.readouterr().out
    assert "2 wanted = 1 fetched + 0 already there + 1 failed" in out
    assert "1 not-found, such as 9zzz: the server answers 404" in out
    assert out.splitlines()[-1].startswith("1 of 2 entries failed (")
    assert fetch("1gbt", "9zzz", allow_failures=1) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "1 of 2 entries failed"


def test_out_is_short_for_out_dir(fetch: Fetch) -> None:
    words = ["--out" if word == "--out-dir" else word for word in fetch.arguments("1gbt")]
    assert main(words) == 0
    assert fetch.files() == ["1gbt.bcif.gz"]


def test_divided_folders_are_those_of_the_archive(fetch: Fetch) -> None:
    assert fetch("1gbt", "pdb_00003jqh", layout="divided") == 0
    assert fetch.files() == ["gb/1gbt.bcif.gz", "jq/3jqh.bcif.gz"]
    assert fetch.rows()["1gbt"]["file"] == "gb/1gbt.bcif.gz"


@pytest.mark.parametrize("way", [servers.chunked, servers.without_length])
def test_files_without_a_length_arrive_if_they_say_themselves_where_they_end(
    fetch: Fetch, server: StructureServer, way: servers.Behaviour
) -> None:
    server.usual = way
    assert fetch("1gbt") == 0
    assert (fetch.out / "1gbt.bcif.gz").read_bytes() == GBT


def test_the_name_says_how_the_file_is_packed_whatever_the_url_says(
    fetch: Fetch, server: StructureServer
) -> None:
    server.files["/1gbt.bcif.gz"] = PLAIN
    assert fetch("1gbt") == 0
    assert fetch.files() == ["1gbt.bcif"]


def test_what_is_packed_on_the_way_is_stored_packed(fetch: Fetch, server: StructureServer) -> None:
    def packing(handler: servers.Handler, body: bytes) -> None:
        assert "gzip" in handler.headers["Accept-Encoding"]
        servers.answer(200, gzip.compress(PLAIN), Content_Encoding="gzip")(handler, body)

    server.usual = packing
    assert fetch("1gbt") == 0
    assert fetch.files() == ["1gbt.bcif.gz"]
    assert gzip.decompress((fetch.out / "1gbt.bcif.gz").read_bytes()) == PLAIN


@pytest.mark.parametrize(
    ("name", "entry", "options"),
    [
        ("1a8o.cif.gz", "1a8o", {"format": "cif"}),
        ("1ejg.pdb.gz", "1ejg", {"format": "pdb"}),
        ("1ubi.pdb.zst", "1ubi", {"format": "pdb"}),
        ("1a8o.pdb", "1a8o", {"format": "pdb"}),
        ("AF-P29373-F1-model_v4.cif.gz", "P29373", {"source": "alphafold", "format": "cif"}),
        ("AF-P29373-F1-model_v4.cif.gz", "AF-P29373-F1", {"source": "alphafold", "format": "cif"}),
    ],
)
def test_all_formats_are_taken(
    fetch: Fetch, server: StructureServer, name: str, entry: str, options: dict[str, str]
) -> None:
    server.files["/x/" + entry] = (EXAMPLES / name).read_bytes()
    server.files["/x/AF-P29373-F1-model_v6"] = server.files["/x/" + entry]
    assert fetch(entry, mirror=server.url + "/x/{id}", **options) == 0
    suffix = name.removeprefix(name.split(".")[0])
    assert fetch.files() == [entry + suffix]


def test_a_build_takes_the_folder_as_it_is(fetch: Fetch, server: StructureServer) -> None:
    from pipeline.build.command import main as build

    assert fetch("1gbt", "3jqh", "9zzz") == 1
    (fetch.out / ".fetch" / "scratch" / "3jqh.part").write_bytes(GBT[:5000])
    out = fetch.out.parent / "built"
    words = ["--pdb-dir", str(fetch.out), "--out-dir", str(out), "--n-jobs=1", "--quiet"]
    assert build(words) == 0
    import pyarrow.parquet as pq

    inputs = pq.read_table(out / "inputs.parquet", columns=["input", "status"]).to_pylist()
    assert {(r["input"], r["status"]) for r in inputs} == {
        ("1gbt.bcif.gz", "ok"),
        ("3jqh.bcif.gz", "ok"),
    }


# --- servers that misbehave --------------------------------------------------------------------


@pytest.mark.parametrize(
    "stumble",
    [
        servers.answer(500),
        servers.answer(503),
        servers.answer(429),
        servers.cut,
        servers.half,
        servers.answer(200, b"<!DOCTYPE html><html>We are sorry</html>"),
    ],
    ids=["500", "503", "429", "cut", "half", "page"],
)
def test_a_stumble_is_tried_again(
    fetch: Fetch, server: StructureServer, stumble: servers.Behaviour
) -> None:
    server.plan["/1gbt.bcif.gz"] = [stumble, stumble]
    assert fetch("1gbt") == 0
    assert fetch.rows()["1gbt"]["attempts"] == "3"
    assert (fetch.out / "1gbt.bcif.gz").read_bytes() == GBT


@pytest.mark.parametrize(
    ("behave", "expected", "attempts"),
    [
        (servers.answer(404), "not-found", 1),
        (servers.answer(410), "not-found", 1),
        (servers.answer(403), "refused", 1),
        (servers.answer(500), "server-error", 2),
        (servers.answer(429), "busy", 2),
        (servers.answer(429, Retry_After=100_000), "busy", 1),
        (servers.cut, "truncated", 2),
        (servers.half, "truncated-stream", 2),
        (servers.answer(200, b"<html>"), "not-a-structure", 2),
        (servers.answer(200, b""), "not-a-structure", 2),
        (servers.answer(200, GBT[:-6] + b"\0" * 6), "corrupt-stream", 2),
        (servers.answer(200, PLAIN[:-100]), "truncated", 2),
        (servers.answer(200, gzip.compress(PLAIN[:-100])), "truncated", 2),
        (servers.answer(200, (EXAMPLES / "3jqh.bcif").read_bytes()), "wrong-entry", 1),
        (servers.answer(200, (EXAMPLES / "1gbt.cif.gz").read_bytes()), "wrong-format", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stays_wrong_is_named_and_leaves_nothing(
    fetch: Fetch,
    server: StructureServer,
    behave: servers.Behaviour,
    expected: str,
    attempts: int,
) -> None:
    server.usual = behave
    assert fetch("1gbt", attempts=2) == 1
    assert reason(fetch) == expected
    assert len(server.requests) == attempts == int(fetch.rows()["1gbt"]["attempts"])


@pytest.mark.parametrize(
    "behave",
    [
        servers.silent,
        servers.stall,
        servers.drip_content,
        servers.drip_headers,
        servers.drip_chunk_size,
    ],
    ids=lambda value: value.__name__,
)
def test_no_server_holds_a_connection_forever(
    fetch: Fetch, server: StructureServer, behave: servers.Behaviour
) -> None:
    server.plan["/1gbt.bcif.gz"] = [behave]
    begun = time.monotonic()
    assert fetch("1gbt", timeout=0.4) == 0
    assert time.monotonic() - begun < 5
    assert fetch.rows()["1gbt"]["attempts"] == "2"
    server.usual = behave
    assert fetch("3jqh", timeout=0.4, attempts=1) == 1
    assert fetch.rows()["3jqh"]["reason"] == "timeout"


def test_a_file_that_comes_fast_enough_may_take_longer_than_the_timeout(
    fetch: Fetch, server: StructureServer
) -> None:
    def steadily(handler: servers.Handler, body: bytes) -> None:
        handler.begin(Content_Length=len(body))
        for start in range(0, len(body), 2000):
            handler.wfile.write(body[start : start + 2000])
            time.sleep(0.05)

    server.usual = steadily
    assert fetch("1gbt", timeout=0.3, attempts=1) == 0
    assert float(fetch.rows()["1gbt"]["seconds"]) > 0.6


def test_the_least_speed_is_a_thousand_bytes_a_second() -> None:
    assert speed_guard.LEAST_BYTES_PER_SECOND == 1000


def test_everybody_is_quiet_for_as_long_as_the_server_asks(
    fetch: Fetch, server: StructureServer
) -> None:
    server.plan["/1gbt.bcif.gz"] = [servers.answer(429, Retry_After=1)]
    assert fetch("1gbt", "3jqh", at_once=1) == 0
    first, *rest = server.requests
    assert len(rest) == 2
    assert min(request.time for request in rest) - first.time >= 1


def test_a_server_that_is_down_gets_no_more_requests(fetch: Fetch, server: StructureServer) -> None:
    server.usual = servers.answer(500)
    entries = [f"1a{k:02d}" for k in range(GIVE_UP_AFTER + 10)]
    assert fetch(*entries, attempts=1, at_once=2) == 1
    reasons = [row["reason"] for row in fetch.rows().values()]
    assert len(reasons) == len(entries)
    assert set(reasons) == {"server-error", "not-tried"}
    assert GIVE_UP_AFTER <= len(server.requests) <= GIVE_UP_AFTER + 2


def test_nobody_listening_is_a_failure_of_the_entry(fetch: Fetch) -> None:
    assert fetch("1gbt", mirror="http://127.0.0.1:9", attempts=2) == 1
    assert reason(fetch) == "no-connection"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda data: data[:-8], "truncated-stream"),
        (lambda data: data[:-8] + bytes(8), "corrupt-stream"),
        (lambda data: data + b"and more", "corrupt-stream"),
    ],
    ids=["no check value", "wrong check value", "more"],
)
def test_a_stream_is_read_to_its_very_end(
    fetch: Fetch, server: StructureServer, damage: Callable[[bytes], bytes], expected: str
) -> None:
    good = (EXAMPLES / "1bd2.cif.gz").read_bytes()
    server.usual = servers.answer(200, damage(good))
    assert fetch("1bd2", format="cif", attempts=1) == 1
    assert reason(fetch, "1bd2") == expected


# --- redirects ---------------------------------------------------------------------------------


def test_redirects_are_followed(fetch: Fetch, server: StructureServer) -> None:
    server.plan["/1gbt.bcif.gz"] = [servers.redirect("/elsewhere")]
    server.plan["/elsewhere"] = [servers.redirect(server.url + "/3rd")]
    server.files["/3rd"] = GBT
    assert fetch("1gbt") == 0
    assert server.paths() == ["/1gbt.bcif.gz", "/elsewhere", "/3rd"]


def test_redirects_in_a_circle_end(fetch: Fetch, server: StructureServer) -> None:
    server.usual = servers.redirect("/1gbt.bcif.gz")
    assert fetch("1gbt") == 1
    assert reason(fetch) == "redirect"
    assert len(server.requests) == MOST_REDIRECTS + 1


@pytest.mark.parametrize("scheme", ["file://", "ftp://127.0.0.1", "file:", "http://["])
def test_redirects_lead_to_http_only(fetch: Fetch, server: StructureServer, scheme: str) -> None:
    server.usual = servers.redirect(f"{scheme}{EXAMPLES / '1gbt.bcif.gz'}")
    assert fetch("1gbt") == 1
    assert reason(fetch) == "redirect"
    assert len(server.requests) == 1


def test_redirects_do_not_lead_from_https_to_http() -> None:
    assert redirected("http://a/b", "https://c/d") == "https://c/d"
    assert redirected("https://a/b", "/d") == "https://a/d"
    with pytest.raises(FetchProblem, match="only https is followed"):
        redirected("https://a/b", "http://a/b")


# --- sizes -------------------------------------------------------------------------------------


def bomb() -> bytes:
    """16 MB of text that would be a fine BinaryCIF, in 16 kB."""
    packed = io.BytesIO()
    with gzip.open(packed, "wb") as file:
        file.write(PLAIN)
        for _ in range(16):
            file.write(b"\0" * (1 << 20))
    return packed.getvalue()


@pytest.mark.parametrize(
    "behave",
    [
        servers.answer(200, bomb()),
        servers.answer(200, gzip.compress(bomb())),
        servers.endless,
        lambda handler, _: handler.begin(Content_Length=10**9),
    ],
    ids=["bomb", "bomb in gzip", "endless", "announced"],
)
def test_files_over_the_limit_are_refused(
    fetch: Fetch, server: StructureServer, behave: servers.Behaviour
) -> None:
    server.usual = behave
    assert fetch("1gbt", max_file_size=2) == 1
    assert reason(fetch) == "too-large"
    assert len(server.requests) == 1


def test_no_column_fills_the_memory(
    fetch: Fetch, server: StructureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "LARGEST_COLUMN", 1 << 20)
    start = b"\x81\xaadataBlocks\x91\x81\xa1x\xc6" + (40 << 20).to_bytes(4, "big")
    server.usual = servers.answer(200, gzip.compress(start + bytes(40 << 20)))
    tracemalloc.start()
    try:
        assert fetch("1gbt") == 1
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert reason(fetch) == "too-large"


def test_a_text_whose_end_nobody_knows_is_refused(fetch: Fetch, server: StructureServer) -> None:
    server.files["/1a8o.pdb.gz"] = (EXAMPLES / "1a8o.pdb").read_bytes()
    server.usual = servers.without_length
    assert fetch("1a8o", format="pdb") == 1
    assert reason(fetch, "1a8o") == "end-unknown"


# --- entry ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    ["../1gbt", "/1gbt", "1gb/", "1g..", "..", "1gbt.cif", "1g t", "1gb\\", "%2e%", "1gb?", "１gbt",
     "1gb\x00", "", "-1gb", "abcd", "1gbtt", "pdb_0001gbt", "P29373"],
)  # fmt: skip
def test_an_id_that_is_none_is_no_entry(entry: str) -> None:
    with pytest.raises(BadEntryId):
        pdb_entry(entry)


@pytest.mark.parametrize(
    "entry",
    ["../P29373", "p29373", "1gbt", "AF-P29373", "AF-P29373-F1.cif", "AF-../..-F1", "P2937"],
)
def test_an_id_that_is_none_is_no_model(entry: str) -> None:
    with pytest.raises(BadEntryId):
        alphafold_entry(entry, 6)


def test_a_bad_id_costs_itself_and_nothing_is_written_elsewhere(
    fetch: Fetch, server: StructureServer, tmp_path: Path
) -> None:
    assert fetch("../../1gbt", "1gbt", "/etc/1gbt") == 1
    rows = fetch.rows()
    assert {k: r["reason"] for k, r in rows.items()} == {
        "../../1gbt": "bad-entry-id",
        "1gbt": "",
        "/etc/1gbt": "bad-entry-id",
    }
    assert server.paths() == ["/1gbt.bcif.gz"]
    assert {p.name for p in tmp_path.iterdir()} == {"out", "wanted.csv"}


def test_long_accessions_are_told_apart_in_pdb_files(tmp_path: Path) -> None:
    text = (
        "HEADER                                            01-JUN-22\n"
        "TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR HEMOGLOBIN (A0A7G5XIH5)\n"
        "DBREF  XXXX A    1   141  UNP    A0A7G5XI A0A7G5XIH5_X       1    141\n"
        "ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00 10.00           N\n"
    )
    path = tmp_path / "x.pdb"
    path.write_text(text)
    for entry in ("A0A7G5XIH5", "AF-A0A7G5XIH5-F1-model_v4"):
        wanted = alphafold_entry(entry, 6)
        check_content(path, "pdb", wanted, 1 << 20, has_end=True)
    for entry in ("A0A7G5XIH6", "P29373"):
        with pytest.raises(FetchProblem, match="another entry"):
            check_content(path, "pdb", alphafold_entry(entry, 6), 1 << 20, has_end=True)


# --- URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "format", "url"),
    [
        ("rcsb", "bcif", "https://models.rcsb.org/1abc.bcif.gz"),
        ("rcsb", "cif", "https://files.rcsb.org/download/1abc.cif.gz"),
        ("pdbe", "bcif", "https://www.ebi.ac.uk/pdbe/entry-files/download/1abc.bcif"),
        (
            "pdbj",
            "pdb",
            "https://data.pdbj.org/pub/pdb/data/structures/divided/pdb/ab/pdb1abc.ent.gz",
        ),
    ],
)
def test_urls_are_those_of_the_servers(source: str, format: str, url: str) -> None:
    pattern = url_pattern(source, format)  # type: ignore[arg-type]
    for entry in ("1ABC", "pdb_00001abc"):
        assert fill_in(pattern, pdb_entry(entry), format) == url  # type: ignore[arg-type]


def test_the_version_of_a_model_is_its_ids_or_the_options() -> None:
    pattern = url_pattern("alphafold", "bcif")
    begin = "https://alphafold.ebi.ac.uk/files/AF-P29373-F1-model_v"
    for entry, version in (("P29373", 6), ("AF-P29373-F1", 6), ("AF-P29373-F1-model_v4", 4)):
        assert fill_in(pattern, alphafold_entry(entry, 6), "bcif") == f"{begin}{version}.bcif"


def test_every_url_is_encrypted() -> None:
    assert all(beginning.startswith("https://") for beginning, _ in ADDRESSES.values())


def test_a_mirror_replaces_the_beginning_or_the_whole() -> None:
    entry = pdb_entry("1abc")
    begin = url_pattern("pdbe", "cif", "http://here:8000/pdb/")
    assert fill_in(begin, entry, "cif") == "http://here:8000/pdb/mmCIF/ab/1abc.cif.gz"
    whole = url_pattern("pdbj", "bcif", "https://here/{middle}/{ID}.{format}?id={id}")
    assert fill_in(whole, entry, "bcif") == "https://here/ab/1ABC.bcif?id=1abc"


@pytest.mark.parametrize(
    "mirror",
    ["file:///data", "/data", "ftp://here", "http://", "http://me:secret@here", "http://here/{x}",
     "http://here/{middle}", "http://here/{id", "http://here:x", "http://here?x=1",
     "http://here/{id.__class__}"],
)  # fmt: skip
def test_a_mirror_that_is_no_url_is_wrong_usage(
    fetch: Fetch, mirror: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch("1gbt", mirror=mirror) == 2
    told = capfd.readouterr().err
    assert told.startswith("error: --mirror")
    assert "secret" not in told
    assert not fetch.out.exists()


def test_pdbj_has_no_binary_cif() -> None:
    with pytest.raises(NoSuchAddress, match="--format cif"):
        url_pattern("pdbj", "bcif")


# --- polite limits -----------------------------------------------------------------------------


def test_no_more_connections_than_asked_for(fetch: Fetch, server: StructureServer) -> None:
    server.usual = servers.slowly(0.05)
    fetch(*(f"1a{k:02d}" for k in range(16)), at_once=3, attempts=1)
    assert server.most_at_once == 3


def test_no_more_requests_in_a_second_than_asked_for(fetch: Fetch, server: StructureServer) -> None:
    server.usual = servers.answer(404)
    fetch(*(f"1a{k:02d}" for k in range(11)), at_once=8, per_second=20)
    times = sorted(request.time for request in server.requests)
    assert len(times) == 11
    # Ten intervals of a twentieth; a request may be late, which shortens what is seen of one.
    assert times[-1] - times[0] > 0.45


@pytest.mark.parametrize("options", [{"at_once": 17}, {"per_second": 21}])
def test_public_servers_are_not_asked_for_more(
    fetch: Fetch, options: dict[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch("1gbt", mirror=None, **{"per_second": 5, **options}) == 2
    assert "--mirror" in capfd.readouterr().err


def test_a_proxy_of_the_environment_is_used(
    fetch: Fetch, server: StructureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    server.files["http://far.invalid/1gbt.bcif.gz"] = GBT
    assert fetch("1gbt", mirror="http://far.invalid") == 0
    assert server.paths() == ["http://far.invalid/1gbt.bcif.gz"]


# --- encrypted connections ---------------------------------------------------------------------


def write_certificate(folder: Path) -> Path:
    """Key and certificate of 127.0.0.1, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        + certificate.public_bytes(pem)
    )
    return path


def test_an_encrypted_server_is_trusted_by_its_certificate_only(
    tmp_path: Path, server: StructureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with structure_server(context) as encrypted:
        encrypted.files = server.files
        fetch = Fetch(tmp_path, encrypted)
        assert fetch("1gbt") == 1
        assert reason(fetch) == "bad-certificate"
        assert encrypted.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch("1gbt") == 0
        encrypted.plan["/3jqh.bcif.gz"] = [servers.stall, servers.drip_headers]
        assert fetch("3jqh", timeout=0.4) == 0
        assert fetch.rows()["3jqh"]["attempts"] == "3"


# --- resuming ----------------------------------------------------------------------------------


def test_what_is_there_is_not_fetched_again(fetch: Fetch, server: StructureServer) -> None:
    fetch("1gbt")
    before = fetch.rows()["1gbt"]
    assert fetch("1gbt", "3jqh") == 0
    assert server.paths() == ["/1gbt.bcif.gz", "/3jqh.bcif.gz"]
    assert fetch.rows()["1gbt"] == {**before, "status": "there"}
    assert fetch("1gbt", overwrite="true") == 0
    assert server.paths()[2:] == ["/1gbt.bcif.gz"]


def test_without_its_records_a_good_file_is_known_by_its_content(
    fetch: Fetch, server: StructureServer
) -> None:
    fetch.out.mkdir()
    (fetch.out / "1gbt.bcif.gz").write_bytes(GBT)
    assert fetch("1gbt") == 0
    assert server.requests == []
    row = fetch.rows()["1gbt"]
    assert (row["status"], row["sha256"]) == ("there", hashlib.sha256(GBT).hexdigest())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        lambda _: b"",
        lambda _: gzip.compress((EXAMPLES / "3jqh.bcif").read_bytes()),
    ],
    ids=["cut", "flipped", "empty", "another"],
)
def test_what_is_damaged_is_fetched_again(
    fetch: Fetch, server: StructureServer, damage: Callable[[bytes], bytes]
) -> None:
    fetch("1gbt")
    (fetch.out / "1gbt.bcif.gz").write_bytes(damage(GBT))
    assert fetch("1gbt") == 0
    assert len(server.requests) == 2
    assert (fetch.out / "1gbt.bcif.gz").read_bytes() == GBT


def test_another_version_of_a_model_is_another_file(fetch: Fetch, server: StructureServer) -> None:
    for k in (4, 6):
        name = f"/AF-P29373-F1-model_v{k}.cif"
        server.files[name] = (EXAMPLES / "AF-P29373-F1-model_v4.cif.gz").read_bytes()
    for k, n in ((6, 1), (6, 1), (4, 2)):
        assert fetch("P29373", source="alphafold", format="cif", alphafold_version=k) == 0
        assert len(server.requests) == n
    assert fetch.files() == ["P29373.cif.gz"]


def test_an_older_file_that_was_packed_otherwise_does_not_stay_beside(
    fetch: Fetch, server: StructureServer
) -> None:
    fetch("1gbt")
    server.files["/1gbt.bcif.gz"] = PLAIN
    assert fetch("1gbt", overwrite="true") == 0
    assert fetch.files() == ["1gbt.bcif"]


def test_a_journal_that_was_cut_off_is_read_as_far_as_it_goes(
    fetch: Fetch, server: StructureServer
) -> None:
    fetch("1gbt", "3jqh", at_once=1)
    journal = fetch.out / ".fetch" / "journal.jsonl"
    journal.write_text(journal.read_text()[:-20])
    assert fetch("1gbt", "3jqh") == 0
    assert fetch("1gbt", "3jqh") == 0
    assert len(server.requests) == 2
    assert len(journal.read_text().splitlines()) == 3


# --- ends --------------------------------------------------------------------------------------


def start(fetch: Fetch, *entries: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.fetch", *fetch.arguments(*entries, **options)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)


def in_the_middle(fetch: Fetch, server: StructureServer) -> subprocess.Popen[str]:
    """A run that has fetched one entry, and half of another."""
    server.plan["/3jqh.bcif.gz"] = [servers.stall]
    process = start(fetch, "1gbt", "3jqh")
    scratch = fetch.out / ".fetch" / "scratch"
    until(lambda: (fetch.out / "1gbt.bcif.gz").exists() and len(server.requests) == 2)
    until(lambda: any(p.name.startswith("3jqh") and p.stat().st_size for p in scratch.iterdir()))
    return process


def test_a_killed_run_leaves_no_half_file_and_the_next_goes_on(
    fetch: Fetch, server: StructureServer
) -> None:
    process = in_the_middle(fetch, server)
    process.kill()
    process.communicate()
    assert len(fetch.leftovers()) == 1
    assert fetch.files() == ["1gbt.bcif.gz"]
    assert fetch("1gbt", "3jqh") == 0
    assert server.paths().count("/1gbt.bcif.gz") == 1
    assert fetch.leftovers() == []
    assert fetch.files() == ["1gbt.bcif.gz", "3jqh.bcif.gz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_with_130_and_sweeps_up(
    fetch: Fetch, server: StructureServer, number: signal.Signals
) -> None:
    process = in_the_middle(fetch, server)
    begun = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130
    assert told.startswith("interrupted: files that were finished are kept")
    assert "Traceback" not in told
    assert fetch.leftovers() == []
    assert fetch.files() == ["1gbt.bcif.gz"]


def test_two_runs_into_one_folder_are_refused(
    fetch: Fetch, server: StructureServer, capfd: pytest.CaptureFixture[str]
) -> None:
    process = in_the_middle(fetch, server)
    try:
        assert fetch("1gbt") == 2
        assert f"is running (process {process.pid} on " in capfd.readouterr().err
        assert len(fetch.leftovers()) == 1
    finally:
        process.kill()
        process.communicate()


def test_a_file_that_is_not_on_the_disk_has_no_name(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pipeline.files.atomic.os, "fsync", full)
    assert fetch("1gbt") == 1
    assert "No space left" in capfd.readouterr().err
    assert fetch.files() == []
    assert fetch.leftovers() == []


def test_a_folder_that_cannot_be_written_ends_the_run(
    fetch: Fetch, server: StructureServer, capfd: pytest.CaptureFixture[str]
) -> None:
    (fetch.out / "1gbt.bcif.gz").mkdir(parents=True)
    assert fetch("1gbt", "3jqh", at_once=1) == 1
    assert "cannot write" in capfd.readouterr().err
    assert fetch.leftovers() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [("name\n1gbt\n", "column entry_id"), ("entry_id\n", "names no entries")],
)
def test_a_manifest_without_entries_is_wrong_usage(
    fetch: Fetch, text: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = fetch.arguments()
    Path(words[1]).write_text(text)
    assert main(words) == 2
    assert said in capfd.readouterr().err


def test_the_command_needs_no_torch() -> None:
    code = "import sys, pipeline.fetch.command; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# --- documentation -----------------------------------------------------------------------------


def documented(heading: str) -> list[list[str]]:
    """Cells of the rows of a section's table."""
    text = (ROOT / "docs" / "fetching.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_lists_every_option_with_its_default() -> None:
    defaults = {}
    for name, default, _ in documented("Options"):
        defaults[name.split("`")[1][2:].replace("-", "_")] = default.strip("`")
    expected = {}
    for option in fields(FetchOptions):
        value = option.default
        text = str(value).lower() if isinstance(value, bool) else str(value)
        expected[option.name] = {MISSING: "required", None: ""}.get(value, text)
    assert defaults == expected


def test_the_page_lists_every_reason() -> None:
    told = {
        name
        for row in documented("When something goes wrong")
        for name in re.findall(r"`([a-z-]+)`", row[0])
    }
    source = "".join(p.read_text() for p in (ROOT / "pipeline" / "fetch").glob("*.py"))
    found = set(re.findall(r'FetchProblem\(\s*"([a-z-]+)"', source))
    found |= set(re.findall(r'reason="([a-z-]+)"', source))
    found |= {"truncated-stream", "corrupt-stream"}  # from pipeline.sources
    assert told == found


# --- longer ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_any_moment_every_file_under_its_name_is_whole(
    fetch: Fetch, server: StructureServer
) -> None:
    contents = {}
    for k in range(60):
        entry = f"{k % 9 + 1}a{k:02d}"
        # The header of a block names the entry: four characters for four.
        packed = gzip.compress(PLAIN.replace(b"1GBT", entry.upper().encode()), 1)
        contents[f"{entry}.bcif.gz"] = server.files[f"/{entry}.bcif.gz"] = packed
    entries = [name.split(".")[0] for name in contents]
    for moment in range(8):
        process = start(fetch, *entries, per_second=60)
        n_before = len(server.requests)
        until(lambda n=n_before: len(server.requests) >= n + 4)  # type: ignore[misc]
        time.sleep(0.01 * moment)
        process.kill()
        process.communicate()
        for name in fetch.files():
            assert (fetch.out / name).read_bytes() == contents[name]
    assert fetch(*entries) == 0
    assert fetch.files() == sorted(contents)
    assert len(server.requests) < len(contents) + 8 * 6
