from pathlib import Path

import nltk
import pytest

from benchmarks.ancestor import Ancestor, split


@pytest.fixture
def ancestor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ancestor:
    monkeypatch.setattr(nltk.data, "path", list(nltk.data.path))
    return Ancestor(tmp_path, ["<p>The films were loving</p>"])


def test_both_ways_of_leaving_out_stop_words_judge_alike(ancestor: Ancestor) -> None:
    review = "The <b>film</b> was not loved; it's a loving film."
    assert 0 < ancestor.judge(review) < 1
    assert ancestor.judge(review) == ancestor.judge_reading_stop_words_once(review)


def test_only_letters_and_digits_are_kept() -> None:
    assert split("<br />It's 10/10!") == ["it", "s", "10", "10"]
