import json
from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.evaluation import Judged, accuracy, encode_texts, evaluate, read_production, read_texts
from model.slices import by_length, by_wording
from tests.model.factory import vocabulary, write_folder

LABELS = np.array([1, 1, 0, 0], dtype=np.int8)
MODEL = np.array([0.9, 0.8, 0.2, 0.6])
BASELINE = np.array([0.9, 0.3, 0.7, 0.6])
LENGTHS = np.array([50, 150, 250, 800])
TEXTS = ["fine", "not bad, but long", "I don\u2019t know. However, no", "never again"]


def document(**more: object) -> dict[str, object]:
    test = Judged(LABELS, MODEL, BASELINE, {"lstm": 1 - MODEL})
    return evaluate(test, LENGTHS, TEXTS, **more)  # type: ignore[arg-type]


def test_model_baseline_and_branches_are_measured_on_the_same_reviews() -> None:
    found = document()
    assert found["baseline"]["name"] == "NBSVM"  # type: ignore[index]
    assert found["baseline"]["accuracy"]["value"] == 0.25  # type: ignore[index]
    assert found["branches"] == {"lstm": {"accuracy": accuracy(LABELS, 1 - MODEL)}}
    advantage = found["advantage_over_baseline"]
    # right where the baseline is wrong: two of four
    assert advantage == {
        "value": 0.5,
        "standard_deviation": pytest.approx(np.std([0, 1, 1, 0]) / 2),
    }


def test_what_was_not_measured_is_left_out() -> None:
    found = evaluate(Judged(LABELS, MODEL), LENGTHS, [])
    absent = {"baseline", "advantage_over_baseline", "branches", "counterfactual", "production"}
    assert not absent & set(found)
    assert {one["group"] for one in found["slices"]} == {"length"}
    json.dumps(found, allow_nan=False)


def test_rewritten_reviews_are_measured_apart() -> None:
    rewritten = Judged(LABELS[:2], MODEL[2:], MODEL[:2], {"lstm": MODEL[:2]})
    found = document(counterfactual=rewritten)["counterfactual"]
    assert found["item_count"] == 2  # type: ignore[index]
    assert found["accuracy"]["value"] == 0.5  # type: ignore[index]
    assert found["baseline"]["accuracy"]["value"] == 1.0  # type: ignore[index]


def production(accuracy: float, **dataset: object) -> dict[str, object]:
    return {
        "binary_classification_metrics": {"accuracy": {"value": accuracy}},
        "dataset": dataset,
    }


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        ({"sha256": "abc", "item_count": 4}, True),
        ({"sha256": "other", "item_count": 4}, False),
        ({"sha256": "abc", "item_count": 2}, False),
        ({}, False),
    ],
)
def test_production_compares_only_on_the_same_data(theirs: dict[str, object], same: bool) -> None:
    found = document(production=production(1.0, **theirs), data_sha256="abc")
    assert found["production"]["difference"] == pytest.approx(-0.25)  # type: ignore[index]
    assert found["production"]["same_data"] is same  # type: ignore[index]
    assert found["accuracy_drop"] == {"value": 0.25 if same else 0.0}


def test_there_is_no_drop_below_a_worse_version_or_none() -> None:
    worse = production(0.5, sha256="abc", item_count=4)
    assert document(production=worse, data_sha256="abc")["accuracy_drop"] == {"value": 0.0}
    assert document()["accuracy_drop"] == {"value": 0.0}


def test_slices_hold_each_review_once_a_group() -> None:
    for slices in (by_length(LENGTHS), by_wording(TEXTS)[:3], by_wording(TEXTS)[3:]):
        assert sum(one.chosen.astype(int) for one in slices).tolist() == [1, 1, 1, 1]


def test_wording_is_found_in_the_text_as_it_was_written() -> None:
    found = {one.name: one.chosen.tolist() for one in by_wording(TEXTS)}
    assert found["no negation"] == [True, False, False, False]
    assert found["“but” or “however”"] == [False, True, True, False]


def test_texts_are_encoded_as_the_versions_own_preset_has_it() -> None:
    reviews = encode_texts(["The <b>film</b>", "", "quagga"], [1, 0, 1], vocabulary())
    assert [reviews[index].tolist() for index in range(3)] == [[2, 3], [], [1]]
    assert reviews.labels.tolist() == [1, 0, 1]


def test_texts_are_read_in_the_order_of_the_shards(tmp_path: Path) -> None:
    write_folder(
        tmp_path, {"test-00001-of-00002.jsonl": b'"b"\n', "test-00000-of-00002.jsonl": b'"a"\n'}
    )
    assert read_texts(tmp_path) == ["a", "b"]


def test_no_version_in_production_is_no_error(tmp_path: Path) -> None:
    assert read_production(None) is None
    with pytest.raises(DataError, match="wrong: no such folder"):
        read_production(tmp_path / "wrong")
    assert read_production(write_folder(tmp_path, {"none": b"no table"})) is None


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"binary_classification_metrics": 1}'])
def test_what_is_no_evaluation_is_refused(tmp_path: Path, content: bytes) -> None:
    write_folder(tmp_path, {"evaluation.json": content})
    with pytest.raises(DataError, match="is no evaluation"):
        read_production(tmp_path)
