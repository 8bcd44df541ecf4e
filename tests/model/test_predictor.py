import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.artifact import load_artifact
from model.errors import ModelError
from model.judging import judge
from model.predictor import Prediction, Predictor
from model.shards import Reviews
from tests.model import factory


@pytest.fixture(scope="module")
def predictor(pristine_artifact: Path) -> Predictor:
    return Predictor(load_artifact(pristine_artifact))


def test_predictions_come_in_the_order_of_the_texts(predictor: Predictor) -> None:
    texts = ["good", "the film was quite bad and dull", "great story", ""]
    together = predictor.predict(texts)
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = predictor.predict([text])
        assert prediction.probability == pytest.approx(alone.probability, abs=1e-6)
        assert prediction.token_count == alone.token_count


def test_words_are_counted_and_signs_are_not(predictor: Predictor) -> None:
    (prediction,) = predictor.predict(["Not good! Isn't <br /> it 10/10?"])
    assert prediction.token_count == 7  # not good is n't it 10 10


@pytest.mark.parametrize("text", ["", " ", "!!! ???", "<br />", "…—", "\x00"])
def test_where_there_is_nothing_to_judge_the_answer_is_undecided(
    predictor: Predictor, text: str
) -> None:
    assert predictor.predict([text]) == [Prediction(0.5, 0)]


@pytest.mark.parametrize(
    "text",
    ["word " * 100_000, "unknown words alone", "x" * 100_000, "\ud800 good", "好 مرحبا 🎉 é"],
)
def test_odd_texts_get_a_probability(predictor: Predictor, text: str) -> None:
    (prediction,) = predictor.predict([text])
    assert 0 <= prediction.probability <= 1
    assert 1 <= prediction.token_count <= 100_000


def test_no_text_no_prediction(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_many_texts_are_judged_in_batches(predictor: Predictor) -> None:
    assert len(set(predictor.predict(["good film"] * 150))) == 1


def test_a_long_text_does_not_stretch_the_short_ones_beside_it(pristine_artifact: Path) -> None:
    artifact = load_artifact(pristine_artifact)
    read: list[tuple[int, ...]] = []
    artifact.model.register_forward_pre_hook(lambda _, given: read.append(tuple(given[0].shape)))
    predictions = Predictor(artifact).predict(["good film", "bad " * 20_000] * 5)
    assert read == [(5, 2), (3, 20_000), (2, 20_000)]
    assert [prediction.token_count for prediction in predictions] == [2, 20_000] * 5


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_a_probability_is_finite_and_the_same_twice(predictor: Predictor, text: str) -> None:
    one, two = predictor.predict([text]), predictor.predict([text])
    assert one == two
    assert math.isfinite(one[0].probability)
    assert 0 <= one[0].probability <= 1


def test_a_model_gone_wrong_is_an_error_not_a_number(pristine_artifact: Path) -> None:
    artifact = load_artifact(pristine_artifact)
    with torch.no_grad():
        artifact.model.output.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="no finite number"):
        Predictor(artifact).predict(["good"])


def test_a_thousand_reviews_get_the_probability_that_training_gives_them(
    pristine_artifact: Path,
) -> None:
    artifact = load_artifact(pristine_artifact)
    chance = random.Random(3)  # noqa: S311
    texts = [factory.sentence(chance, number % 2, 1 + number % 90) for number in range(1000)]
    rows = [artifact.vocabulary.encode(text.split()) for text in texts]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    reviews = Reviews(np.concatenate(rows), offsets, np.zeros(1000, dtype=np.int8))
    trained = judge(artifact.model, reviews, np.arange(1000))
    predictor = Predictor(artifact)
    served = [predictor.predict([text])[0].probability for text in texts]
    assert np.abs(served - trained).max() < 1e-3
    assert np.ptp(served) > 0.005  # or agreeing would mean nothing
