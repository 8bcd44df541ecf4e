from typing import Any

import numpy as np
import pytest
import torch

from model.batches import crop, pad
from model.errors import DataError
from model.lstm import LSTMConfig, SentimentLSTM, Strongest, drop, reverse
from tests.model.factory import tiny_model


def test_one_logit_a_review() -> None:
    tokens = torch.randint(2, 20, (3, 7))
    assert tiny_model()(tokens, torch.tensor([7, 3, 1])).shape == (3,)


def test_a_logit_does_not_depend_on_the_batch() -> None:
    model = tiny_model()
    short, long = [4, 5, 6], [7, 8, 9, 10, 11, 12]
    together = model(torch.tensor([[*short, 0, 0, 0], long]), torch.tensor([3, 6]))
    alone = model(torch.tensor([short]), torch.tensor([3]))
    torch.testing.assert_close(together[:1], alone)


def test_both_directions_are_read() -> None:
    model = tiny_model()
    one = model(torch.tensor([[4, 5, 6]]), torch.tensor([3]))
    turned = model(torch.tensor([[6, 5, 4]]), torch.tensor([3]))
    assert not torch.allclose(one, turned)


def test_the_strongest_and_its_gradient_are_those_of_torch() -> None:
    random = torch.Generator().manual_seed(1)
    values = torch.randint(3, (4, 9, 6), generator=random) - 4.0  # many are equally strong
    padding = torch.arange(9)[None, :, None] >= torch.tensor([9, 5, 2, 1])[:, None, None]
    wanted = torch.rand(4, 6, generator=random)
    found = []
    for pool in (
        lambda states: Strongest.apply(states, padding),
        lambda states: states.masked_fill(padding, -torch.inf).amax(dim=1),
    ):
        states = values.clone().requires_grad_()
        strongest = pool(states)
        (gradient,) = torch.autograd.grad(strongest, states, wanted)
        found.append((strongest, gradient))
    (ours, our_gradient), (torchs, torchs_gradient) = found
    assert torch.equal(ours, torchs)
    assert torch.equal(our_gradient, torchs_gradient)


def test_what_is_reversed_has_its_gradient_reversed() -> None:
    values = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 2])
    turned = reverse(values, lengths)
    assert torch.equal(turned[0], values[0].flip(0))
    assert torch.equal(turned[1], values[1][[1, 0, 2, 3]])
    assert torch.autograd.gradcheck(lambda one: reverse(one, lengths), values)


def test_words_and_features_are_dropped_as_the_generator_says() -> None:
    model, tokens, lengths = tiny_model(), torch.randint(2, 20, (2, 9)), torch.tensor([9, 9])
    one, same, other = (
        model.read(tokens, lengths, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(model(tokens, lengths), model(tokens, lengths))


def test_dropout_keeps_the_mean() -> None:
    dropped = drop(torch.ones(100_000), 0.5, torch.Generator().manual_seed(1))
    assert set(dropped.tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_padding_has_no_meaning_of_its_own() -> None:
    assert not tiny_model().embedding.weight[0].any()


def test_the_same_seed_gives_the_same_weights() -> None:
    one, same, other = (tiny_model(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])


@pytest.mark.parametrize(
    "change",
    [
        {"vocabulary_size": 0},
        {"hidden_dim": 1.5},
        {"embedding_dim": 10**9},
        {"dropout": 1.0},
        {"dropout": "much"},
        {"word_dropout": -0.1},
    ],
)
def test_an_impossible_config_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(change))} is"):
        LSTMConfig(**({"vocabulary_size": 10} | change))


def test_a_config_is_read_back_as_it_was_written() -> None:
    config = LSTMConfig(10, hidden_dim=3)
    assert LSTMConfig.from_json(config.to_json()) == config
    with pytest.raises(DataError, match="must hold exactly: vocabulary_size"):
        LSTMConfig.from_json(config.to_json() | {"layers": 2})


def test_the_default_model_is_small_enough_to_serve() -> None:
    with torch.device("meta"):
        model = SentimentLSTM(LSTMConfig(40_002))
    assert sum(parameter.numel() for parameter in model.parameters()) < 6_000_000


def test_of_a_long_review_the_lstm_reads_what_crop_leaves() -> None:
    model = SentimentLSTM(LSTMConfig(50, embedding_dim=4, hidden_dim=3, max_review_length=7)).eval()
    long, short = np.arange(2, 22, dtype=np.int32), np.arange(5, 9, dtype=np.int32)
    whole, cropped = pad([long, short]), pad([crop(long, 7), short])
    torch.testing.assert_close(model.read(*whole), model.read(*cropped))
    assert not torch.equal(model.read(*whole), model.read(*pad([long[:7], short])))


def test_a_word_counts_as_much_as_it_is_attended_to() -> None:
    model = tiny_model()
    states = torch.randn(2, 3, 2 * model.config.hidden_dim)
    padding = torch.tensor([[False, False, False], [False, False, True]])[..., None]
    width = states.shape[2]
    evenly = model.pool(states, padding)
    torch.testing.assert_close(
        evenly[:, :width], torch.stack([states[0].amax(0), states[1, :2].amax(0)])
    )
    mean = torch.stack([states[0].mean(0), states[1, :2].mean(0)])
    torch.testing.assert_close(evenly[:, width:], mean.repeat(1, 5))  # attention starts out even
    with torch.no_grad():
        model.attention.weight[0] = 1e4 * states[0, 1]
    attended = model.pool(states[:1], padding[:1])[:, 2 * width : 3 * width]
    torch.testing.assert_close(attended[0], states[0, (states[0] @ states[0, 1]).argmax()])


def test_both_directions_meet_at_each_word(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    pooled: list[torch.Tensor] = []
    pool = SentimentLSTM.pool

    def seen(self: SentimentLSTM, states: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        pooled.append(states)
        return pool(self, states, padding)

    monkeypatch.setattr(SentimentLSTM, "pool", seen)
    tokens, lengths = torch.tensor([[2, 3, 4, 5], [6, 7, 0, 0]]), torch.tensor([4, 2])
    model.read(tokens, lengths)
    tokens[:, 0] = 8
    model.read(tokens, lengths)
    H = model.config.hidden_dim
    there, back = (
        (one != other).any(dim=2).tolist()
        for one, other in zip(pooled[0].split(H, 2), pooled[1].split(H, 2), strict=True)
    )
    assert there == [[True] * 4] * 2
    assert [row[:length] for row, length in zip(back, lengths, strict=True)] == [
        [True, False, False, False],
        [True, False],
    ]
