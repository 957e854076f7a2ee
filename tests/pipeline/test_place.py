"""Where something is, as it was given: a path, or a URI."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pipeline.built.layout import Layout
from pipeline.commands.command_line import parse_options, to_yaml
from pipeline.files.place import Place
from pipeline.files.storage import BadLocation, open_folder
from pipeline.subset.options import SubsetOptions

URI = "s3://bucket/a/b?endpoint_override=localhost:1&region=x&scheme=http"


def test_a_uri_stays_as_it_was_given() -> None:
    place = Place(URI)
    assert str(place) == os.fspath(place) == URI
    assert place.is_uri
    assert not place.folder.is_local
    assert place.folder == open_folder(URI)


@pytest.mark.parametrize("text", ["a/b", "./a/b", "a//b/", "a/./b"])
def test_a_path_is_spelled_as_pathlib_does(text: str) -> None:
    place = Place(text)
    assert str(place) == "a/b"
    assert not place.is_uri
    assert place.folder.local == Path("a/b")
    assert place == Place(Path(text)) == Place(place)
    assert hash(place) == hash(Place("a/b"))
    assert place != Place("a/c")
    assert place != "a/b"


def test_a_place_is_opened_once() -> None:
    place = Place(URI)
    assert place.folder is place.folder


def test_a_place_of_a_folder_is_that_folder() -> None:
    folder = open_folder(URI)
    assert Place(folder).folder is folder
    assert open_folder(Place(folder)) == folder
    assert Place(open_folder("a/b")) == Place("a/b")


def test_nothing_is_opened_before_it_is_asked_for() -> None:
    place = Place("zz://nowhere")
    assert place.is_uri
    with pytest.raises(BadLocation):
        _ = place.folder


def test_a_place_travels_as_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (URI, "a/b"):
        place = Place(given)
        _ = place.folder
        assert pickle.loads(pickle.dumps(place)) == place
    sent = pickle.dumps(Place("a"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert pickle.loads(sent).folder == open_folder(tmp_path / "a")


def test_an_absolute_place_means_the_same_everywhere() -> None:
    assert str(Place("a/../b").absolute) == os.path.abspath("b")
    assert Place(URI).absolute == Place(URI)


def test_a_place_is_an_option() -> None:
    words = ["data", "--out-dir", URI]
    options = parse_options(SubsetOptions, "subset", "Make.", words, first="sources")
    assert options.out_dir == Place(URI)
    assert f"out_dir: {URI}\n" in to_yaml(options)


def test_names_of_a_layout_are_those_of_its_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make_folders()
    (layout.root / layout.record(3)).write_text("{}")
    assert layout.folder.list(layout.state) == ("part-00003.json",)
    assert layout.describe(layout.shard(3)) == str(tmp_path / "shards" / layout.shard_name(3))
    assert Layout(tmp_path) == Layout(Place(tmp_path)) == Layout(str(tmp_path))
