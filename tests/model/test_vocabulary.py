import json
from pathlib import Path

import pytest

from model.errors import DataError
from model.text import TextSettings
from model.vocabulary import Vocabulary, build_vocabulary


def test_ids_start_after_the_two_reserved_ones() -> None:
    vocabulary = Vocabulary(("the", "film"))
    assert vocabulary.encode(["film", "the", "unseen"]).tolist() == [3, 2, 1]
    assert len(vocabulary) == 4


def test_the_most_frequent_words_are_kept_and_ties_go_by_the_alphabet() -> None:
    counts = {"zoo": 3, "ant": 3, "bee": 5, "once": 1}
    assert build_vocabulary(counts, 2, TextSettings()).words == ("bee", "ant")
    assert build_vocabulary(counts, 9, TextSettings()).words == ("bee", "ant", "zoo")


@pytest.mark.parametrize(("counts", "size"), [({"a": 5}, 0), ({"a": 1}, 5), ({}, 5)])
def test_an_empty_dictionary_is_refused(counts: dict[str, int], size: int) -> None:
    with pytest.raises(DataError):
        build_vocabulary(counts, size, TextSettings())


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("été", "n't"))
    vocabulary.save(tmp_path / "vocabulary.json")
    again = Vocabulary.load(tmp_path / "vocabulary.json")
    assert again == vocabulary
    assert again.sha256 == vocabulary.sha256


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"format": 1, "words": "the"},
        {"format": 1, "words": [1]},
        {"format": 2, "text": {"preset": "modern"}, "words": ["a"]},
        {"format": 1, "text": {"preset": "modern"}, "words": ["a", "a"]},
        {"format": 1, "words": ["a"]},
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError):
        Vocabulary.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"vocabulary\.json: no such file"):
        Vocabulary.load(tmp_path / "vocabulary.json")
