"""The recipe: how the reviews that are given make a model.

1. The n-gram branch is fitted to the labelled reviews but for the slice held out.
2. The LSTMs learn to foretell words, from labelled and unlabelled reviews (`pretraining`).
3. A copy of the LSTM learns from the labels. Together with the n-grams it guesses how
   likely each unlabelled review is positive (distillation, Hinton et al., arXiv 1503.02531).
4. The LSTM, as pre-trained, learns from the labels, and from the guesses where there are any.
5. How much each branch counts, a shift of both and the temperature of their mean are fitted on the
   slice, as they are before the guessing. Then the n-grams are fitted once more, now to the slice
   as well; what the history says of the slice is from before that.

Reviews that people rewrote until the label flipped, where there are any, count for more than
others, and so do their originals; those whose original is in the slice are held out with it.

What is long, the training in 2 to 4, has checkpoints; the rest is done again each time.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.calibration import expected_calibration_error, fit_platt
from model.checkpoints import Checkpoint, load_checkpoint, run_digest, save_checkpoint
from model.counterfactual import find_originals
from model.examples import Examples, Indices, split_validation
from model.judging import Branches, Floats, combine, judge_branches, log_loss, probability
from model.lstm import LSTMConfig, SentimentLSTM
from model.ngrams import NgramBranch, build_table, fit_ngrams
from model.objectives import Objective, Verdicts
from model.pretraining import NextWords
from model.settings import TrainingSettings
from model.shards import Reviews, concatenate, select
from model.training import Say, Trainer, is_reduced
from model.workers import Workers

Guesses = NDArray[np.float32]

_SHARES = np.linspace(0.0, 1.0, 101)
_SMALLER = 4  # batches of pre-training; by trial, two epochs of them teach more than four of large
_SLOWER = 0.3  # learning rate of pre-training, as a share of the others'
_REPEATS = 3  # how often an epoch meets a rewrite, and its original


@dataclass(frozen=True)
class Corpus:
    """Encoded reviews of each kind; all but `labelled` may be empty."""

    labelled: Reviews
    unlabelled: Reviews
    counterfactual: Reviews


@dataclass(frozen=True)
class Run:
    """What all phases of a training share."""

    settings: TrainingSettings
    checkpoints: Path | None = None
    say: Say = print
    stop_asked: Callable[[], bool] = lambda: False
    workers: Workers = Workers()  # noqa: RUF009  # immutable

    def train(self, objective: Objective, phase: str, **changes: Any) -> list[dict[str, Any]]:
        """Train to the end of a phase, from its checkpoint where there is one; a row an epoch.

        `changes` are those of the settings.
        """
        trainer = Trainer(
            objective,
            replace(self.settings, **changes),
            self.checkpoints / phase if self.checkpoints else None,
            self.say,
            self.stop_asked,
            self.workers,
        )
        trainer.train()
        return trainer.history

    def keep_guesses(self, guessing: Verdicts, labelled: Examples, unlabelled: Reviews) -> Guesses:
        """`guess`, or what it gave a run that was broken off since.

        The n-grams are fitted anew each time: on other cores they may differ in the last bit, and
        so would guesses made anew, with which training would begin anew. They are not in the key,
        but what they are fitted to is.
        """
        folder = self.checkpoints / "guessed" if self.checkpoints else None
        fitted_to = (*guessing.arrays(), labelled.rewrites)
        arrays = (*fitted_to, unlabelled.tokens, unlabelled.offsets)
        said = (guessing.name, is_reduced(self.settings.precision))
        key = run_digest(said, guessing.weights.values(), arrays)
        kept = load_checkpoint(folder, key)[0] if folder else None
        if kept is not None:
            return np.array(kept.tensors["guesses"], np.float32)  # a copy, to be written to
        self.say(f"guessing {len(unlabelled)} unlabelled reviews")
        guesses = guess(guessing.model, labelled, unlabelled, self.settings.precision)
        if folder and self.workers.leads:
            save_checkpoint(folder, Checkpoint(0, key, {"guesses": guesses}, {}))
        return guesses


def train(config: LSTMConfig, corpus: Corpus, run: Run) -> tuple[SentimentLSTM, dict[str, Any]]:
    """A trained model, and training_history.json.

    That holds the settings, a row an epoch of what came before and of the training itself, and
    what was fitted.
    """
    if not run.workers.leads:
        run = replace(run, say=_nothing)
    settings, workers = run.settings, run.workers
    labelled = plan(corpus, settings, config.vocabulary_size)
    model = with_ngrams(config, settings, labelled).to(workers.device)
    # processors of different makes may round differently: all start from the same numbers
    workers.copy([*(weight.data for weight in model.parameters())])
    run.say(f"n-grams: {model.config.ngram_count}")
    before = []
    reviews_read = 0
    if settings.pretraining_epochs:
        texts = NextWords(model, concatenate([corpus.labelled, corpus.unlabelled]))
        epochs = run.train(
            texts.to(workers.device),
            "words",
            epochs=settings.pretraining_epochs,
            batch_size=max(1, settings.batch_size // _SMALLER),
            learning_rate=_SLOWER * settings.learning_rate,
        )
        before.append({"name": texts.name, "epochs": epochs})
        reviews_read = settings.pretraining_epochs * len(texts.reviews)
    examples = labelled
    if settings.guessing_epochs and len(corpus.unlabelled):
        guessing = Verdicts(copy.deepcopy(model), examples, "guesses", reviews_read=reviews_read)
        epochs = run.train(guessing, "guesses", epochs=settings.guessing_epochs)
        before.append({"name": guessing.name, "epochs": epochs})
        guesses = run.keep_guesses(guessing, labelled, corpus.unlabelled)
        workers.copy([torch.from_numpy(guesses)])
        examples = with_guesses(labelled, corpus.unlabelled, guesses)
    epochs = run.train(Verdicts(model, examples, reviews_read=reviews_read), "verdicts")
    model.cpu()
    mixed = mix(model, examples)
    fit_branch(model, labelled, np.concatenate([labelled.training, labelled.held_out]))
    move(model.ngrams.bias, mixed["shift"])
    run.say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in mixed.items()))
    history = {"format": 1, "settings": asdict(settings), "before": before, "epochs": epochs}
    return model, history | {"mix": mixed}


def _nothing(line: str) -> None:
    """Only the process that leads speaks."""


def plan(corpus: Corpus, settings: TrainingSettings, vocabulary_size: int) -> Examples:
    """Labelled reviews and rewrites: what is trained on, how often, and what is held out."""
    labelled, rewrites = corpus.labelled, corpus.counterfactual
    training, validation = split_validation(
        labelled.labels, settings.validation_fraction, settings.seed
    )
    reviews = concatenate([labelled, rewrites])
    targets = (reviews.labels == 1).astype(np.float32)
    originals = find_originals(rewrites, labelled, vocabulary_size)
    held_out = np.isin(originals, validation)
    numbers = len(labelled) + np.arange(len(rewrites))

    def repeated(chosen: NDArray[np.bool_]) -> Indices:
        known = np.unique(originals[chosen & (originals >= 0)])  # is met once as any review
        return np.concatenate([np.tile(numbers[chosen], _REPEATS), np.tile(known, _REPEATS - 1)])

    return Examples(
        reviews,
        targets,
        np.concatenate([training, repeated(~held_out)]),
        validation,
        numbers[held_out],
        np.concatenate([validation, repeated(held_out)]),
    )


def with_ngrams(
    config: LSTMConfig, settings: TrainingSettings, examples: Examples
) -> SentimentLSTM:
    """A model whose n-gram branch is fitted and whose LSTM is new."""
    torch.manual_seed(settings.seed)
    model = SentimentLSTM(config)
    fit_branch(model, examples, examples.training)
    return model


def fit_branch(model: SentimentLSTM, examples: Examples, indices: Indices) -> None:
    """Give the model n-grams fitted to these labelled reviews; one that is met twice counts so."""
    distinct, times = np.unique(indices, return_counts=True)
    size = model.config.vocabulary_size
    table = build_table(select(examples.reviews, distinct), size)
    targets = examples.targets[distinct].astype(np.float64)
    weights, bias = fit_ngrams(table, targets, times.astype(np.float64))
    model.config = replace(model.config, ngram_count=len(table.keys))
    model.ngrams = NgramBranch(len(table.keys), size)
    model.ngrams.set(table.keys, weights, bias)


def guess(
    guesser: SentimentLSTM, labelled: Examples, unlabelled: Reviews, precision: str
) -> Guesses:
    """How likely each of the unlabelled reviews is positive, as both branches say."""
    fit_mean(guesser, labelled)
    guesser.reduced_precision = is_reduced(precision)  # what is learned from may be rounded
    logits = judge_branches(guesser, unlabelled, np.arange(len(unlabelled)))
    guesser.reduced_precision = False
    return probability(combine(guesser, logits)).astype(np.float32)


def with_guesses(labelled: Examples, unlabelled: Reviews, guesses: Guesses) -> Examples:
    """The examples and, to be learned from as well, the unlabelled reviews."""
    guessed = len(labelled.reviews) + np.arange(len(unlabelled))
    return replace(
        labelled,
        reviews=concatenate([labelled.reviews, unlabelled]),
        targets=np.concatenate([labelled.targets, guesses]),
        training=np.concatenate([labelled.training, guessed]),
    )


def mix(model: SentimentLSTM, examples: Examples) -> dict[str, float]:
    """Fit what the mean of the branches needs, and measure it on what was held out."""
    shift, branches, wanted = fit_mean(model, examples)
    figures = {
        "ngram_share": model.ngram_share.item(),
        "shift": shift,
        "temperature": model.temperature.item(),
    }
    for name, said, right in zip(("validation", "rewrites"), branches, wanted, strict=False):
        figures |= _figures(name, {"": combine(model, said)} | said, right)
    probabilities = probability(combine(model, branches[0]))
    figures["calibration_error"] = expected_calibration_error(wanted[0], probabilities)
    return {name: round(value, 6) for name, value in figures.items()}


def fit_mean(
    model: SentimentLSTM, examples: Examples
) -> tuple[float, list[Branches], list[NDArray[np.bool_]]]:
    """Give the slice the least log loss by the n-grams' share, a shift and the temperature.

    The shift, which is returned, is added to the bias of both branches. Rewrites held out, where
    there are any, have a say in the share, each as often as an epoch would meet it. Shift and
    temperature are the slice's alone: they are for reviews as people write them. What each branch
    then says of slice and rewrites is returned as well, with what it was to say.
    """
    held_out: list[Indices] = [examples.validation]
    if len(examples.rewrites):
        held_out.append(examples.rewrites)
    branches = [judge_branches(model, examples.reviews, indices) for indices in held_out]
    wanted = [examples.targets[indices] >= 0.5 for indices in held_out]
    best = np.inf
    for share in _SHARES:
        logits = [(1 - share) * said["lstm"] + share * said["ngrams"] for said in branches]
        temperature, moved = fit_platt(logits[0], wanted[0])
        loss = sum(
            times * len(right) * log_loss((found + moved) / temperature, right)
            for times, found, right in zip((1, _REPEATS), logits, wanted, strict=False)
        )
        if loss < best:
            best, chosen, shift = loss, (float(share), temperature), moved
    model.ngram_share.fill_(chosen[0])
    model.temperature.fill_(chosen[1])
    move(model.output.bias, shift)
    move(model.ngrams.bias, shift)
    moved_too = [{name: logits + shift for name, logits in said.items()} for said in branches]
    return shift, moved_too, wanted


@torch.no_grad()
def move(bias: Tensor, shift: float) -> None:
    bias += shift


def _figures(name: str, said: dict[str, Floats], wanted: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "_".join(filter(None, (name, branch, "accuracy"))): float(((logits >= 0) == wanted).mean())
        for branch, logits in said.items()
    }
