import numpy as np
import pytest
import torch

from model.examples import Examples
from model.lstm import LSTMConfig, SentimentLSTM
from model.objectives import Objective, Verdicts
from model.optimizers import optimizers_of
from model.pretraining import NextWords
from tests.model.factory import encoded, vocabulary


def model(embedding_dim: int = 6) -> SentimentLSTM:
    torch.manual_seed(1)
    return SentimentLSTM(LSTMConfig(len(vocabulary()), embedding_dim=embedding_dim, hidden_dim=5))


def verdicts(reviews_read: int = 0, embedding_dim: int = 6) -> Verdicts:
    reviews = encoded()
    numbers = np.arange(len(reviews))
    examples = Examples(reviews, reviews.labels.astype(np.float32), numbers[10:], numbers[:10])
    return Verdicts(model(embedding_dim), examples, reviews_read=reviews_read)


@pytest.mark.parametrize("objective", [verdicts(), NextWords(model(), encoded())])
def test_each_number_is_moved_by_one_optimizer(objective: Objective) -> None:
    before = {name: weight.detach().clone() for name, weight in objective.weights.items()}
    for weight in objective.weights.values():
        weight.grad = torch.rand_like(weight) + 1
    if objective.lazy:
        vectors = objective.model.embedding.weight
        vectors.grad = torch.ones_like(vectors).to_sparse(1)
    optimizers = optimizers_of(objective)
    for optimizer in optimizers:
        optimizer.step(1e-3)
    moved = sum(
        weight.numel()
        for optimizer in optimizers
        for group in optimizer.torchs.param_groups
        for weight in group["params"]
    )
    assert moved == sum(weight.numel() for weight in before.values())
    assert all((weight != before[name]).all() for name, weight in objective.weights.items())


def test_vectors_take_the_steps_of_one_adam_though_by_halves() -> None:
    objective = verdicts(150_000, embedding_dim=16)  # no half ends within a processor's vector
    vectors = objective.model.embedding.weight
    alone = torch.nn.Parameter(vectors.detach().clone())
    whole = torch.optim.Adam([alone], fused=True)
    optimizers = optimizers_of(objective)
    for seed in range(3):
        for weight in objective.weights.values():
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        alone.grad = vectors.grad.clone() if vectors.grad is not None else None
        whole.param_groups[0]["lr"] = 1e-3 * objective.vectors_factor
        whole.step()
        for optimizer in optimizers:
            optimizer.step(1e-3)
    assert torch.equal(vectors, alone)


def test_vectors_are_moved_where_they_lie_now() -> None:
    objective = verdicts()
    vectors = objective.model.embedding.weight
    optimizers = optimizers_of(objective)
    vectors.data = vectors.data.clone()
    before = vectors.detach().clone()
    for weight in objective.weights.values():
        weight.grad = torch.ones_like(weight)
    for optimizer in optimizers:
        optimizer.step(1e-3)
    assert (vectors != before).all()


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
