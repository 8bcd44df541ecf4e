from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from model.training import Trainer
from model.vocabulary import FIRST_WORD

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


def asks_all() -> NextWords:
    """Frequent words are asked for as well, of which alone there are any here."""
    words = objective()
    words.asked[FIRST_WORD:] = 1.0
    return words


def gradients_of(words: NextWords, loss: Tensor) -> dict[str, Tensor]:
    """Of each weight that was used."""
    found = torch.autograd.grad(loss, list(words.weights.values()), allow_unused=True)
    named = zip(words.weights, found, strict=True)
    return {name: one.to_dense() for name, one in named if one is not None}


def mean_loss(words: NextWords) -> float:
    indices = np.arange(100)
    with torch.no_grad():
        losses = (words.loss(indices, torch.Generator().manual_seed(3), one) for one in (0, 1))
        return sum(loss.item() for loss in losses) / words.size(indices)


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
    asked = found.words > 0
    assert found.places[asked].tolist() == [1]  # the place before the word that is asked for
    assert found.words[asked].tolist() == [3]
    assert objective().asked[:2].tolist() == [0.0, 0.0]


def test_reverse_leaves_padding_at_the_end() -> None:
    tokens = torch.tensor([[2, 3, 4, 0], [5, 6, 0, 0]])
    lengths = torch.tensor([3, 2])
    assert reverse(tokens, lengths).tolist() == [[4, 3, 2, 0], [6, 5, 0, 0]]
    assert reverse(tokens[..., None], lengths)[..., 0].tolist() == [[4, 3, 2, 0], [6, 5, 0, 0]]


def test_products_have_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 each is compiled first, and no two batches ask for as many words."""
    words = objective()
    counts, shapes = set(), set()
    ask = NextWords._ask

    def note_asked(self: NextWords, tokens: Tensor, random: torch.Generator) -> pretraining.Asked:
        asked = ask(self, tokens, random)
        counts.add(int((asked.words > 0).sum()))
        shapes.add(tuple(asked.words.shape))
        return asked

    monkeypatch.setattr(NextWords, "_ask", note_asked)
    for count in range(50, 400, 50):
        for direction in range(words.summands):
            words.loss(np.arange(count), torch.Generator().manual_seed(count), direction)
    assert len(counts) > 5
    assert shapes == {(pretraining._DRAWS, pretraining._ROWS)}


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 32), (192, 32), (193, 64)])
def test_each_draw_gets_as_many_words_and_some_zeros(count: int, rows: int) -> None:
    values = torch.arange(count) + 2
    dealt = pretraining._dealt(values)
    assert dealt.shape == (pretraining._DRAWS, rows)
    assert dealt.T.flatten()[:count].equal(values)
    assert dealt.count_nonzero() == count


@pytest.mark.parametrize("direction", [0, 1])
def test_the_loss_is_that_of_each_word_and_those_of_its_draw(
    direction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, kept = asks_all(), []

    def keep_what_it_gives(name: str) -> None:
        method = getattr(words, name)

        def keep(*given: Any) -> Any:
            kept.append(method(*given))
            return kept[-1]

        monkeypatch.setattr(words, name, keep)

    keep_what_it_gives("_ask")
    keep_what_it_gives("_draw")
    with torch.no_grad():
        words.bias.copy_(torch.linspace(-1, 1, WORDS))
        found = words.loss(np.arange(100), torch.Generator().manual_seed(1), direction)
        asked, drawn = kept
        tokens = torch.from_numpy(words.reviews.tokens[:600]).view(100, 6)
        lstm = words.model.forwards
        if direction == 1:
            tokens, lstm = tokens.flip(1), words.model.backwards
        vectors = words.model.embedding.weight
        foretold = words.projections[direction](lstm(vectors[tokens])[0].flatten(0, 1))
        logits = foretold @ vectors.T + words.bias - words.expected  # (B T, V)
        wanted = torch.zeros(())
        for places, rights, others in zip(asked.places, asked.words, drawn, strict=True):
            for place, right in zip(places, rights, strict=True):
                if right > 0:
                    assert tokens.flatten()[place + 1] == right
                    odds = logits[place, others[others != right]].exp().sum()
                    wanted += (1 + odds / logits[place, right].exp()).log()
    assert (asked.words > 0).sum() == 500
    torch.testing.assert_close(found, wanted)


def test_in_bfloat16_loss_and_gradients_are_nearly_the_same() -> None:
    words = asks_all()
    found = []
    for reduced in (False, True):
        words.model.reduced_precision = reduced
        loss = words.loss(np.arange(100), torch.Generator().manual_seed(1), 1)
        found.append([loss, *gradients_of(words, loss).values()])
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32 and rounded.any()
        assert torch.linalg.vector_norm(rounded - exact) < 0.1 * torch.linalg.vector_norm(exact)


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
    for direction in range(words.summands):
        loss = words.loss(np.array([0]), torch.Generator().manual_seed(1), direction)
        assert loss.item() == 0.0
        assert not any(one.any() for one in gradients_of(words, loss).values())
    assert torch.isfinite(words.below).all() and torch.isfinite(words.expected).all()


def test_where_nothing_but_the_right_word_is_drawn_nothing_is_learned() -> None:
    tokens = np.full(6, 2, np.int32)
    words = objective(Reviews(tokens, np.array([0, 6]), np.array([-1], np.int8)))
    words.asked.fill_(1.0)
    for direction in range(words.summands):
        loss = words.loss(np.array([0]), torch.Generator().manual_seed(1), direction)
        assert loss.item() == 0.0
        assert not any(one.any() for one in gradients_of(words, loss).values())


@pytest.mark.parametrize("direction", [0, 1])
def test_each_direction_teaches_its_own_lstm_alone(direction: int) -> None:
    words = asks_all()
    loss = words.loss(np.arange(20), torch.Generator().manual_seed(1), direction)
    gradients = gradients_of(words, loss)
    lstm = ("forwards", "backwards")[direction]
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    assert set(gradients) == {
        "model.embedding.weight",
        "bias",
        f"projections.{direction}.weight",
        f"projections.{direction}.bias",
        *(f"model.{lstm}.{name}" for name in names),
    }
    for name in ("model.embedding.weight", "bias"):
        assert gradients[name][FIRST_WORD:].any() and not gradients[name][:FIRST_WORD].any()


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
    for direction in range(words.summands):
        words.loss(np.arange(2), torch.Generator().manual_seed(1), direction)
    assert read == [[[2, 3, 4, 5], [6, 7, 8, 0]], [[5, 4, 3, 2], [8, 7, 6, 0]]]


def test_the_gradient_is_the_sum_over_reviews_and_directions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.training._PART", 2)
    words = asks_all()
    words.model.embedding.sparse = True
    trainer = Trainer(words, SETTINGS)
    trainer._add_gradients(np.arange(7), map)
    wanted = [torch.zeros_like(weight) for weight in words.weights.values()]
    for share in range(4):
        for direction in (0, 1):
            part = (2 * share + direction, direction, np.arange(7)[share::4])
            for total, one in zip(wanted, trainer._gradients(part)[1], strict=True):
                total += 0 if one is None else one.to_dense()
    for total, weight in zip(wanted, words.weights.values(), strict=True):
        assert weight.grad is not None and weight.grad.to_dense().any()
        torch.testing.assert_close(weight.grad.to_dense(), total / words.size(np.arange(7)))
