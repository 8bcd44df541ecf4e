import random
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.artifact import Artifact
from model.errors import ModelError
from model.explain import WordWeight, explain, word_weights
from model.lstm import LSTMConfig, SentimentLSTM
from model.predictor import Predictor
from model.recipe import Corpus, Run, train
from model.settings import TrainingSettings
from model.shards import concatenate
from tests.model.factory import BAD, GOOD, encoded, sentence, vocabulary


@pytest.fixture(scope="module")
def predictor() -> Iterator[Predictor]:
    """A model that has learnt which of the factory's words are good, in one thread as served."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = LSTMConfig(len(vocabulary()), embedding_dim=8, hidden_dim=6, max_review_length=30)
    settings = TrainingSettings(epochs=8, learning_rate=0.03)
    none = concatenate([])
    model, _ = train(config, Corpus(encoded(400), none, none), Run(settings, say=lambda line: None))
    yield Predictor(Artifact(model.requires_grad_(False), vocabulary(), {}))
    torch.set_num_threads(threads)


def logit(predictor: Predictor, review: str) -> float:
    (prediction,) = predictor.predict([review])
    return float(torch.logit(torch.tensor(prediction.probability)))


def test_words_are_the_reviews_own_where_they_stand(predictor: Predictor) -> None:
    review = "The film <br />was GREAT&mdash;really!"
    words = explain(predictor, review)
    assert [word.text for word in words] == ["The", "film", "was", "GREAT", "really", "!"]
    assert all(review[word.start : word.end] == word.text for word in words)


def test_a_character_of_several_tokens_is_one_word(predictor: Predictor) -> None:
    review = "\u203c\ufe0f \u2049\ufe0f it was great\u203c\ufe0f and \u00bd dull"
    tokens = predictor.artifact.vocabulary.text.locate(review)
    words = explain(predictor, review)
    assert len(words) < len(tokens)
    assert all(one.end <= other.start for one, other in pairwise(words))
    assert all(review[word.start : word.end] == word.text for word in words)
    total = sum(word.weight for word in words)
    assert total == pytest.approx(logit(predictor, review), abs=1e-3)


def test_good_and_bad_words_decide(predictor: Predictor) -> None:
    heaviest = explain(predictor, "the film was great and the story it quite dull", most=2)
    assert [word.text for word in heaviest] == ["great", "dull"]
    assert heaviest[0].weight > 0 > heaviest[1].weight


def test_the_weights_add_up_to_the_logit(predictor: Predictor) -> None:
    chance = random.Random(3)  # noqa: S311
    for number in range(30):
        review = sentence(chance, number % 2, 1 + number % 20)
        total = sum(word.weight for word in explain(predictor, review))
        assert total == pytest.approx(logit(predictor, review), abs=1e-3)


def test_without_its_heaviest_words_a_verdict_loses_more_than_without_the_others(
    predictor: Predictor,
) -> None:
    chance = random.Random(4)  # noqa: S311
    lost = {"heaviest": 0.0, "others": 0.0}
    for number in range(30):
        review = sentence(chance, number % 2, 12)
        words = review.split()
        before = abs(logit(predictor, review))
        weights = [abs(word.weight) for word in explain(predictor, review)]
        order = sorted(range(len(words)), key=lambda index, weights=weights: -weights[index])
        for name, removed in (("heaviest", order[:3]), ("others", order[-3:])):
            kept = [word for index, word in enumerate(words) if index not in removed]
            lost[name] += before - abs(logit(predictor, " ".join(kept)))
    assert lost["heaviest"] > 3 * abs(lost["others"])


@pytest.mark.parametrize("review", ["", "   ", "!!! ???", "<br />", "<p></p>&nbsp;"])
def test_where_there_is_no_word_nothing_decided(predictor: Predictor, review: str) -> None:
    assert explain(predictor, review) == []


def test_unknown_words_are_explained_too(predictor: Predictor) -> None:
    words = explain(predictor, "quagga zebra")
    assert [(word.text, word.start, word.end) for word in words] == [
        ("quagga", 0, 6),
        ("zebra", 7, 12),
    ]


def test_of_a_long_review_all_words_are_listed_and_those_skipped_weigh_as_ngrams(
    predictor: Predictor,
) -> None:
    """The LSTM of the fixture reads 10 words at the beginning and 20 at the end."""
    words = explain(predictor, " ".join([*GOOD[:1] * 10, *["film"] * 100_000, *BAD[:1] * 20]))
    assert len(words) == 100_030
    weights = np.array([word.weight for word in words])
    read, skipped = np.r_[weights[:10], weights[-20:]], weights[10:-20]
    assert np.abs(skipped[5:-5]).max() < 1e-4 < np.median(np.abs(read))


def test_an_explanation_is_the_same_each_time_and_changes_no_weight(predictor: Predictor) -> None:
    before = [value.clone() for value in predictor.artifact.model.parameters()]
    first = explain(predictor, "the film was great")
    assert explain(predictor, "the film was great") == first
    after = predictor.artifact.model.parameters()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_one_forward_pass_of_two_rows_is_all_it_takes(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    forward = SentimentLSTM.forward

    def counted(
        self: SentimentLSTM, tokens: torch.Tensor, *more: object, **named: object
    ) -> object:
        rows.append(len(tokens))
        return forward(self, tokens, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(SentimentLSTM, "forward", counted)
    explain(predictor, "the film was great")
    assert rows == [2]


def test_a_gradient_that_is_no_number_is_an_error(predictor: Predictor) -> None:
    model = SentimentLSTM(predictor.artifact.model.config)
    model.output.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="no finite number"):
        word_weights(model, vocabulary().encode(["film", "great"]))


def test_a_word_weight_is_a_plain_tuple() -> None:
    assert WordWeight("a", 0, 1, 0.5)._asdict() == {
        "text": "a",
        "start": 0,
        "end": 1,
        "weight": 0.5,
    }
