from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model import pretraining
from model.lstm import LSTMConfig, SentimentLSTM, reverse
from model.pretraining import NextWords
from model.recipe import Run
from model.settings import TrainingSettings
from model.shards import Reviews

WORDS = 12
CONFIG = LSTMConfig(WORDS, embedding_dim=8, hidden_dim=16, max_review_length=9)
SETTINGS = TrainingSettings(batch_size=16, learning_rate=0.02)


def counting(count: int = 400) -> Reviews:
    """Words 2 to 11 in their order, from a random one on: the next is certain, so is the last."""
    starts = np.random.default_rng(1).integers(2, WORDS, count)
    tokens = (starts[:, None] + np.arange(6) - 2) % (WORDS - 2) + 2
    return Reviews(
        tokens.astype(np.int32).ravel(), np.arange(count + 1) * 6, np.full(count, -1, np.int8)
    )


def objective(reviews: Reviews | None = None) -> NextWords:
    torch.manual_seed(1)
    return NextWords(SentimentLSTM(CONFIG), reviews or counting())


def mean_loss(words: NextWords) -> float:
    indices = np.arange(100)
    with torch.no_grad():
        return words.loss(indices, torch.Generator().manual_seed(3)).item() / words.size(indices)


def test_it_learns_which_word_comes_next_in_either_direction() -> None:
    words = objective()
    before = mean_loss(words)
    rows = Run(SETTINGS, say=lambda line: None).train(words, "words", epochs=12)
    assert mean_loss(words) < 0.7 * before
    assert len(rows) == 12
    assert "validation_accuracy" not in rows[0]


def test_a_broken_pre_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = objective()
    Run(SETTINGS, say=lambda line: None).train(whole, "words", epochs=2)
    steps: Iterator[bool] = iter([False] * 20 + [True])
    broken = Run(SETTINGS, tmp_path, say=lambda line: None, stop_asked=lambda: next(steps))
    with pytest.raises(Exception, match="checkpoint kept at step 20"):
        broken.train(objective(), "words", epochs=2)
    resumed = objective()
    replace(broken, stop_asked=lambda: False).train(resumed, "words", epochs=2)
    for name, weight in whole.weights.items():
        torch.testing.assert_close(resumed.weights[name], weight, rtol=0, atol=0)


def test_neither_padding_nor_unknown_words_are_asked_for() -> None:
    tokens = torch.tensor([[2, 1, 3, 0], [4, 1, 0, 0]])
    words = objective()
    words.asked.fill_(1.0)
    words.asked[:2] = 0.0
    found = words._ask(tokens, torch.Generator().manual_seed(1))
    assert found.places.tolist() == [1]  # the place before the word that is asked for
    assert found.words.tolist() == [3]
    assert objective().asked[:2].tolist() == [0.0, 0.0]


def test_reverse_leaves_padding_at_the_end() -> None:
    tokens = torch.tensor([[2, 3, 4, 0], [5, 6, 0, 0]])
    lengths = torch.tensor([3, 2])
    assert reverse(tokens, lengths).tolist() == [[4, 3, 2, 0], [6, 5, 0, 0]]
    assert reverse(tokens[..., None], lengths)[..., 0].tolist() == [[4, 3, 2, 0], [6, 5, 0, 0]]


def test_products_in_bfloat16_have_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new one is compiled first, and no two batches ask for as many words."""
    words = objective()
    words.model.reduced_precision = True
    asked, rows = [], []
    ask, padded = NextWords._ask, pretraining._padded

    def note_asked(self: NextWords, tokens: Tensor, random: torch.Generator) -> pretraining.Asked:
        asked.append(ask(self, tokens, random))
        return asked[-1]

    def note_rows(some: Tensor) -> Tensor:
        rows.append(padded(some))
        return rows[-1]

    monkeypatch.setattr(NextWords, "_ask", note_asked)
    monkeypatch.setattr(pretraining, "_padded", note_rows)
    for count in range(50, 400, 50):
        words.loss(np.arange(count), torch.Generator().manual_seed(count))
    assert len({len(one.words) for one in asked}) > 5
    assert {len(one) for one in rows} == {pretraining._ROWS}


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 256), (256, 256), (257, 512)])
def test_rows_are_filled_up_with_zeros(count: int, rows: int) -> None:
    padded = pretraining._padded(torch.ones(count, 3))
    assert len(padded) == rows
    assert padded[:count].sum() == padded.sum() == 3 * count


def test_the_verdict_and_the_ngrams_are_left_alone() -> None:
    names = objective().weights
    assert not [name for name in names if "output" in name or "ngrams" in name]
    assert {"model.embedding.weight", "projections.0.weight", "bias"} <= set(names)


def test_padding_is_never_drawn() -> None:
    words = objective()
    assert int(torch.searchsorted(words.below, torch.zeros(1), right=True)) == 2


def test_reviews_without_a_known_word_teach_nothing_and_break_nothing() -> None:
    unknown = Reviews(np.ones(4, np.int32), np.array([0, 4]), np.array([-1], np.int8))
    words = objective(unknown)
    loss = words.loss(np.array([0]), torch.Generator().manual_seed(1))
    assert loss.item() == 0.0
    assert torch.isfinite(words.below).all() and torch.isfinite(words.expected).all()


def test_where_nothing_but_the_right_word_is_drawn_nothing_is_learned() -> None:
    tokens = np.full(6, 2, np.int32)
    words = objective(Reviews(tokens, np.array([0, 6]), np.array([-1], np.int8)))
    words.asked.fill_(1.0)
    loss = words.loss(np.array([0]), torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(loss, list(words.weights.values()))
    assert loss.item() == 0.0
    assert not any(one.to_dense().any() for one in gradients)


def test_one_direction_foretells_the_next_word_the_other_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reviews = Reviews(np.arange(2, 9, dtype=np.int32), np.array([0, 4, 7]), np.full(2, -1, np.int8))
    words, read = objective(reviews), []
    ask = NextWords._ask

    def note_read(self: NextWords, tokens: Tensor, random: torch.Generator) -> pretraining.Asked:
        read.append(tokens.tolist())
        return ask(self, tokens, random)

    monkeypatch.setattr(NextWords, "_ask", note_read)
    words.loss(np.arange(2), torch.Generator().manual_seed(1))
    assert read == [[[2, 3, 4, 5], [6, 7, 8, 0]], [[5, 4, 3, 2], [8, 7, 6, 0]]]
