import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.errors import StoppedError
from model.examples import Examples, Indices
from model.judging import Branches, judge, judge_branches
from model.lstm import LSTMConfig, SentimentLSTM
from model.objectives import Verdicts
from model.recipe import (
    Corpus,
    Run,
    fit_branch,
    fit_mean,
    guess,
    move,
    plan,
    train,
    with_guesses,
    with_ngrams,
)
from model.settings import TrainingSettings
from model.shards import Reviews, concatenate, select
from tests.model.factory import BAD, GOOD, encoded, vocabulary

CONFIG = LSTMConfig(len(vocabulary()), embedding_dim=6, hidden_dim=5, dropout=0.1)
SETTINGS = TrainingSettings(epochs=4, pretraining_epochs=1, guessing_epochs=1, learning_rate=0.03)
NONE = concatenate([])


def unlabelled(count: int = 40) -> Reviews:
    return replace(encoded(count, seed=3), labels=np.full(count, -1, np.int8))


RUN = Run(SETTINGS, say=lambda line: None)


def test_both_branches_learn_and_agree_on_one_verdict() -> None:
    corpus = Corpus(encoded(200), unlabelled(), NONE)
    model, history = train(CONFIG, corpus, RUN)
    unseen = encoded(60, seed=2)
    wanted = unseen.labels == 1
    branches = judge_branches(model, unseen, np.arange(60))
    assert ((branches["lstm"] >= 0) == wanted).mean() > 0.9
    assert ((branches["ngrams"] >= 0) == wanted).mean() > 0.9
    assert ((judge(model, unseen, np.arange(60)) >= 0.5) == wanted).mean() > 0.9
    assert 0 <= history["mix"]["ngram_share"] <= 1
    assert model.temperature.item() == pytest.approx(history["mix"]["temperature"], abs=1e-6)


def test_the_same_seed_gives_the_same_model() -> None:
    corpus = Corpus(encoded(60), unlabelled(), NONE)
    one, same = (train(CONFIG, corpus, RUN)[0].state_dict() for _ in range(2))
    assert all((one[name] == same[name]).all() for name in one)


def test_the_parts_of_training_read_what_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int, bytes]] = []
    factors: list[float] = []
    rates: list[float] = []

    def seen(self: Run, objective: Any, phase: str, **changes: Any) -> list[dict[str, Any]]:
        start = objective.model.embedding.weight.detach().numpy().tobytes()
        factors.append(objective.vectors_factor)
        rates.append(changes.get("learning_rate", self.settings.learning_rate))
        read.append((phase, len(objective.epoch), start))
        return train_phase(self, objective, phase, **changes)

    train_phase = Run.train
    monkeypatch.setattr(Run, "train", seen)
    monkeypatch.setattr("model.objectives._LITTLE_READ", 10)
    train(CONFIG, Corpus(encoded(60), unlabelled(), NONE), RUN)
    assert factors == [4.0, 0.1, 0.1]  # 100 reviews were read once
    assert rates == pytest.approx([0.3 * 0.03, 0.03, 0.03])
    assert [one[:2] for one in read] == [
        ("words", 60 + 40),
        ("guesses", 54),
        ("verdicts", 54 + 40),
    ]
    starts = [one[2] for one in read]
    assert starts[0] != starts[1]
    assert starts[1] == starts[2]


def test_nothing_is_guessed_where_no_guesses_are_asked_for() -> None:
    corpus = Corpus(encoded(60), unlabelled(), NONE)
    settings = replace(SETTINGS, guessing_epochs=0)
    _, history = train(CONFIG, corpus, replace(RUN, settings=settings))
    assert [part["name"] for part in history["before"]] == ["pre-training"]


def test_training_goes_on_from_any_step_of_any_part(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    corpus = Corpus(encoded(16), unlabelled(10), NONE)
    whole, _ = train(CONFIG, corpus, replace(RUN, settings=settings))
    for step in itertools.count():
        left = iter([False] * step)
        folder = tmp_path / str(step)
        stopping = Run(settings, folder, RUN.say, lambda left=left: next(left, True))  # type: ignore[misc]
        try:
            train(CONFIG, corpus, stopping)
        except StoppedError:
            model, _ = train(CONFIG, corpus, replace(stopping, stop_asked=lambda: False))
            for name, weight in whole.state_dict().items():
                torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=0)
        else:
            break
    assert step > 8


def test_a_run_that_goes_on_learns_the_very_guesses_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus(encoded(60), unlabelled(), NONE)
    whole, _ = train(CONFIG, corpus, Run(SETTINGS, tmp_path, RUN.say))
    for step in (tmp_path / "verdicts").iterdir():
        shutil.rmtree(step)
    # as an n-gram branch would say that was fitted on other cores
    monkeypatch.setattr("model.recipe.guess", lambda *given: guess(*given) + np.float32(1e-6))
    lines: list[str] = []
    model, _ = train(CONFIG, corpus, Run(SETTINGS, tmp_path, lines.append))
    assert len([line for line in lines if line.startswith("going on")]) == 2
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=0)


def test_a_guesser_of_other_unlabelled_reviews_is_not_used(tmp_path: Path) -> None:
    lines: list[str] = []
    for seed in (3, 4):
        other = replace(encoded(40, seed=seed), labels=np.full(40, -1, np.int8))
        lines.clear()
        train(CONFIG, Corpus(encoded(60), other, NONE), Run(SETTINGS, tmp_path, lines.append))
    assert not [line for line in lines if line.startswith("going on")]


def test_unlabelled_reviews_are_learned_as_the_branches_guess_them() -> None:
    labelled = plan(Corpus(encoded(200), unlabelled(), NONE), SETTINGS, len(vocabulary()))
    model = with_ngrams(CONFIG, SETTINGS, labelled)
    torch.nn.init.normal_(model.output.weight)
    guesses = guess(model, labelled, unlabelled(), "float32")
    examples = with_guesses(labelled, unlabelled(), guesses)
    assert len(examples.training) == 180 + 40
    assert not set(examples.training) & set(examples.validation)
    np.testing.assert_array_equal(guesses, examples.targets[200:])
    said = judge(model, unlabelled(), np.arange(40))
    assert ((guesses > 0) & (guesses < 1)).all()
    np.testing.assert_allclose(guesses, said, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_guesses_are_rounded_as_training_is_and_what_they_are_mixed_by_is_not(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = plan(Corpus(encoded(200), unlabelled(), NONE), SETTINGS, len(vocabulary()))
    model = with_ngrams(CONFIG, SETTINGS, labelled)
    rounded = []

    def note(model: SentimentLSTM, reviews: Reviews, indices: Indices) -> Branches:
        rounded.append((len(indices), model.reduced_precision))
        return judge_branches(model, reviews, indices)

    monkeypatch.setattr("model.recipe.judge_branches", note)
    guess(model, labelled, unlabelled(), precision)
    assert rounded == [(20, False), (40, precision == "bfloat16")]
    assert not model.reduced_precision


def test_reviews_of_the_slice_are_not_in_the_ngrams() -> None:
    thrice = Reviews(np.full(3, 22, np.int32), np.array([0, 3]), np.array([1], np.int8))
    reviews = concatenate([thrice, thrice, encoded(60)])
    key = (22 * CONFIG.vocabulary_size + 22) * CONFIG.vocabulary_size + 22
    targets = reviews.labels.astype(np.float32)
    for training, known in ((np.arange(2, 62), False), (np.arange(62), True)):
        examples = Examples(reviews, targets, training, np.arange(2, 4))
        model = with_ngrams(CONFIG, SETTINGS, examples)
        assert (key in model.ngrams.keys.tolist()) == known


def rewritten() -> tuple[Reviews, Reviews]:
    """Labelled reviews, and each tenth of them with one word changed and the other label."""
    labelled, ids = encoded(200), vocabulary().ids
    opposite = {ids[one]: ids[other] for one, other in zip(GOOD, BAD, strict=True)}
    opposite |= {other: one for one, other in opposite.items()}
    rewrites = select(labelled, np.arange(0, 200, 10))
    tokens = np.array([opposite.get(token, token) for token in rewrites.tokens], np.int32)
    return labelled, Reviews(tokens, rewrites.offsets, 1 - rewrites.labels)


def test_rewrites_are_learned_with_their_originals_or_held_out_with_them() -> None:
    labelled, rewrites = rewritten()
    examples = plan(Corpus(labelled, NONE, rewrites), SETTINGS, len(vocabulary()))
    times = np.bincount(examples.training, minlength=220)
    assert set(times[examples.validation]) == {0}
    assert set(times[200:]) == {0, 3}
    assert examples.rewrites.tolist() == (200 + np.flatnonzero(times[200:] == 0)).tolist()
    assert set(times[:200]) == {0, 1, 3}
    # the n-grams' last fit meets each as often as if nothing were held out
    all_times = np.bincount(np.concatenate([examples.training, examples.held_out]))
    assert set(all_times[200:]) == {3}
    assert set(all_times[:200]) == {1, 3}
    assert set(all_times[examples.validation]) == {1, 3}


def test_a_model_of_rewrites_tells_what_it_makes_of_those_held_out() -> None:
    labelled, rewrites = rewritten()
    _, history = train(CONFIG, Corpus(labelled, unlabelled(), rewrites), RUN)
    assert {"rewrites_accuracy", "rewrites_lstm_accuracy"} <= set(history["mix"])


def test_verdicts_that_lean_to_one_side_are_moved_back() -> None:
    examples = plan(Corpus(encoded(200), NONE, NONE), SETTINGS, len(vocabulary()))
    model = with_ngrams(CONFIG, SETTINGS, examples)
    move(model.output.bias, 5.0)
    move(model.ngrams.bias, 5.0)
    before = judge_branches(model, examples.reviews, examples.validation)
    shift, moved, _ = fit_mean(model, examples)
    assert shift < -0.1
    after = judge_branches(model, examples.reviews, examples.validation)
    for name, logits in after.items():
        assert logits == pytest.approx(before[name] + shift, abs=1e-5)
        assert logits == pytest.approx(moved[0][name], abs=1e-5)


def test_the_more_rewrites_are_held_out_the_less_the_ngrams_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both branches are right of nine reviews in ten, the n-grams wrong of each rewrite."""
    half = replace(SETTINGS, validation_fraction=0.5)
    examples = plan(Corpus(encoded(200), NONE, NONE), half, len(vocabulary()))
    model = with_ngrams(CONFIG, SETTINGS, examples)

    def says(model: SentimentLSTM, reviews: Reviews, indices: np.ndarray) -> dict[str, np.ndarray]:
        sign = np.where(examples.targets[indices] >= 0.5, 2.0, -2.0)
        if len(indices) == len(examples.validation):
            others = [np.where(np.arange(len(sign)) % 10 == nth, -sign, sign) for nth in (0, 1)]
            return dict(zip(("lstm", "ngrams"), others, strict=True))
        return {"lstm": sign, "ngrams": -sign}

    monkeypatch.setattr("model.recipe.judge_branches", says)
    shares = []
    for count, repeats in ((1, 3), (5, 3), (20, 3), (20, 6)):
        monkeypatch.setattr("model.recipe._REPEATS", repeats)
        fit_mean(model, replace(examples, rewrites=np.arange(count)))
        shares.append(model.ngram_share.item())
    assert 0.5 > shares[0] > shares[1] > shares[2] > shares[3]


def test_guesses_are_kept_for_the_reviews_held_out_that_they_were_fitted_to(tmp_path: Path) -> None:
    examples = plan(Corpus(encoded(200), NONE, NONE), SETTINGS, len(vocabulary()))
    said: list[str] = []
    run = replace(RUN, checkpoints=tmp_path, say=said.append)
    guesses = []
    for rewrites in ([], [], [0, 1]):
        model = with_ngrams(CONFIG, SETTINGS, examples)
        held_out = replace(examples, rewrites=np.array(rewrites, np.int64))
        guesses.append(run.keep_guesses(Verdicts(model, held_out), held_out, unlabelled()))
    assert len(said) == 2
    assert (guesses[0] == guesses[1]).all()


def test_the_last_fit_of_the_ngrams_keeps_the_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.recipe.fit_platt", lambda logits, wanted: (1.0, -0.3))
    corpus = Corpus(encoded(200), unlabelled(), NONE)
    model, history = train(CONFIG, corpus, RUN)
    examples = plan(corpus, SETTINGS, len(vocabulary()))
    again = with_ngrams(CONFIG, SETTINGS, examples)
    fit_branch(again, examples, np.concatenate([examples.training, examples.held_out]))
    shift = history["mix"]["shift"]
    assert shift == pytest.approx(-0.3)
    assert model.ngrams.bias.item() == pytest.approx(again.ngrams.bias.item() + shift, abs=1e-5)


def test_a_slice_without_a_mistake_makes_nothing_certain() -> None:
    corpus = Corpus(encoded(40), NONE, NONE)
    model, _ = train(CONFIG, corpus, replace(RUN, settings=replace(SETTINGS, epochs=8)))
    probabilities = judge(model, encoded(40), np.arange(40))
    assert 0.001 < probabilities.min() and probabilities.max() < 0.999
