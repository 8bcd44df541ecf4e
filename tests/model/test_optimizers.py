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


def verdicts(reviews_read: int = 0) -> Verdicts:
    reviews = encoded()
    numbers = np.arange(len(reviews))
    examples = Examples(reviews, reviews.labels.astype(np.float32), numbers[10:], numbers[:10])
    return Verdicts(model(), examples, reviews_read=reviews_read)


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

    whole = moved(verdicts())
    for read, share in ((4500, 1.0), (9000, 0.5), (75_000, 0.06), (150_000, 0.03), (10**9, 0.03)):
        assert moved(verdicts(read)) == pytest.approx(share * whole, rel=1e-2)


def test_the_matrices_of_the_lstms_take_their_steps_by_muon_in_pre_training_alone() -> None:
    def by_muon(objective: Objective) -> set[int]:
        return {
            id(weight)
            for optimizer in optimizers_of(objective)
            if isinstance(optimizer.torchs, torch.optim.Muon)
            for group in optimizer.torchs.param_groups
            for weight in group["params"]
        }

    words = NextWords(model(), encoded())
    directions = (words.model.forwards, words.model.backwards)
    matrices = [one for each in directions for one in (each.weight_ih_l0, each.weight_hh_l0)]
    assert by_muon(words) == {id(one) for one in matrices}
    assert not by_muon(verdicts())
