import numpy as np
import pytest
import torch

from model.examples import Examples
from model.lstm import LSTMConfig, SentimentLSTM
from model.objectives import Objective, Verdicts
from model.optimizers import optimizers_of
from model.pretraining import NextWords
from tests.model.factory import encoded, vocabulary


def model() -> SentimentLSTM:
    return SentimentLSTM(LSTMConfig(len(vocabulary()), embedding_dim=6, hidden_dim=5))


def verdicts(*, pretrained: bool = False) -> Verdicts:
    reviews = encoded()
    numbers = np.arange(len(reviews))
    examples = Examples(reviews, reviews.labels.astype(np.float32), numbers[10:], numbers[:10])
    return Verdicts(model(), examples, pretrained=pretrained)


@pytest.mark.parametrize("objective", [verdicts(), NextWords(model(), encoded())])
def test_each_weight_is_moved_by_one_optimizer(objective: Objective) -> None:
    moved = [
        id(weight)
        for optimizer in optimizers_of(objective)
        for group in optimizer.torchs.param_groups
        for weight in group["params"]
    ]
    assert sorted(moved) == sorted(id(weight) for weight in objective.weights.values())


def test_what_is_learned_from_many_reviews_moves_less_for_a_few() -> None:
    def moved(objective: Verdicts) -> float:
        vectors = objective.model.embedding.weight
        before = vectors.detach().clone()
        for weight in objective.weights.values():
            weight.grad = torch.ones_like(weight)
        for optimizer in optimizers_of(objective):
            optimizer.step(1e-3)
        return float((vectors.detach() - before).abs().mean())

    assert moved(verdicts(pretrained=True)) == pytest.approx(0.03 * moved(verdicts()), rel=1e-3)
