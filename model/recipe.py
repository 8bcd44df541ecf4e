"""The recipe: n-grams first, then an LSTM that learns from labels and from the n-grams, then both.

1. The n-gram branch is fitted to the labelled reviews but for the slice held out.
2. It guesses how likely each unlabelled review is positive, calibrated on the slice.
3. The LSTM learns from labels and guesses alike (distillation, Hinton et al., arXiv 1503.02531).
4. How much each branch counts, and the temperature of their mean, are fitted on the slice.

Reviews that people rewrote until the label flipped, where there are any, count for more than
others, and so do their originals; those whose original is in the slice are held out with it.

Steps 1, 2 and 4 take seconds and are the same each time; what is long, 3, has checkpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.calibration import expected_calibration_error, fit_temperature
from model.counterfactual import find_originals
from model.examples import Examples, split_validation
from model.judging import Floats, combine, judge_branches, judge_ngrams, probability
from model.lstm import LSTMConfig, SentimentLSTM
from model.ngrams import build_table, fit_ngrams
from model.settings import TrainingSettings
from model.shards import Reviews, concatenate, select
from model.training import Say, Trainer
from model.workers import Workers

_SHARES = np.linspace(0.0, 1.0, 101)
_REPEATS = 3  # how often an epoch meets a rewrite and its original, and how much they weigh


@dataclass(frozen=True)
class Corpus:
    """Encoded reviews of each kind; all but `labelled` may be empty."""

    labelled: Reviews
    unlabelled: Reviews
    counterfactual: Reviews


def train(
    config: LSTMConfig,
    settings: TrainingSettings,
    corpus: Corpus,
    checkpoints: Path | None = None,
    say: Say = print,
    stop_asked: Callable[[], bool] = lambda: False,
    workers: Workers = Workers(),  # noqa: B008  # immutable
) -> tuple[SentimentLSTM, dict[str, Any]]:
    """A trained model, and training_history.json: settings, a row an epoch, what was fitted."""
    if not workers.leads:
        say = _nothing
    labelled = plan(corpus, settings, config.vocabulary_size)
    model = with_ngrams(config, settings, labelled)
    say(f"n-grams: {model.config.ngram_count}")
    examples = distil(model, labelled, corpus.unlabelled)
    # processors of different makes may round differently: all start from the same numbers
    workers.copy([*(weight.data for weight in model.parameters())])
    workers.copy([torch.from_numpy(examples.targets)])
    trainer = Trainer(model, settings, examples, checkpoints, say, stop_asked, workers)
    trainer.train()
    model.cpu()
    mixed = mix(model, examples)
    say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in mixed.items()))
    return model, trainer.history_json() | {"mix": mixed}


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
    if not len(rewrites):
        return Examples(reviews, targets, training, validation)
    originals = find_originals(rewrites, labelled, vocabulary_size)
    held_out = np.isin(originals, validation)
    numbers = len(labelled) + np.arange(len(rewrites))
    pairs = np.concatenate([numbers[~held_out], originals[~held_out & (originals >= 0)]])
    return Examples(
        reviews,
        targets,
        np.concatenate([training, np.tile(pairs, _REPEATS)]),
        validation,
        numbers[held_out],
    )


def with_ngrams(
    config: LSTMConfig, settings: TrainingSettings, examples: Examples
) -> SentimentLSTM:
    """A model whose n-gram branch is fitted and whose LSTM is new."""
    indices, times = np.unique(examples.training, return_counts=True)
    table = build_table(select(examples.reviews, indices), config.vocabulary_size)
    targets = examples.targets[indices].astype(np.float64)
    weights, bias = fit_ngrams(table, targets, times.astype(np.float64))
    torch.manual_seed(settings.seed)
    model = SentimentLSTM(replace(config, ngram_count=len(table.keys)))
    model.ngrams.set(table.keys, weights, bias)
    return model


def distil(model: SentimentLSTM, labelled: Examples, unlabelled: Reviews) -> Examples:
    """The examples with the unlabelled reviews, as the n-grams guess them, among them."""
    if not len(unlabelled):
        return labelled
    validation = labelled.validation
    logits = judge_ngrams(model, labelled.reviews, validation)
    temperature = _temperature(logits, labelled.targets[validation])
    logits = judge_ngrams(model, unlabelled, np.arange(len(unlabelled)))
    guesses = probability(logits / temperature).astype(np.float32)
    guessed = len(labelled.reviews) + np.arange(len(unlabelled))
    return replace(
        labelled,
        reviews=concatenate([labelled.reviews, unlabelled]),
        targets=np.concatenate([labelled.targets, guesses]),
        training=np.concatenate([labelled.training, guessed]),
    )


def mix(model: SentimentLSTM, examples: Examples) -> dict[str, float]:
    """Set the n-grams' share and the temperature to what gives the slice the least log loss.

    Rewrites held out, where there are any, count as much as the slice for the share. The
    temperature is the slice's alone: it is for reviews as people write them.
    """
    slices = [examples.validation] + ([examples.rewrites] if len(examples.rewrites) else [])
    branches = [judge_branches(model, examples.reviews, indices) for indices in slices]
    wanted = [examples.targets[indices] >= 0.5 for indices in slices]
    best = np.inf
    for share in _SHARES:
        logits = [(1 - share) * said["lstm"] + share * said["ngrams"] for said in branches]
        temperature = _temperature(logits[0], wanted[0])
        loss = sum(
            _log_loss(found / temperature, right)
            for found, right in zip(logits, wanted, strict=True)
        )
        if loss < best:
            best, chosen = loss, (float(share), temperature)
    model.ngram_share.fill_(chosen[0])
    model.temperature.fill_(chosen[1])
    figures = {"ngram_share": chosen[0], "temperature": chosen[1]}
    for name, said, right in zip(("validation", "rewrites"), branches, wanted, strict=False):
        figures |= _figures(name, {"": combine(model, said)} | said, right)
    probabilities = probability(combine(model, branches[0]))
    figures["calibration_error"] = expected_calibration_error(wanted[0], probabilities)
    return {name: round(value, 6) for name, value in figures.items()}


def _figures(name: str, said: dict[str, Floats], wanted: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "_".join(filter(None, (name, branch, "accuracy"))): float(((logits >= 0) == wanted).mean())
        for branch, logits in said.items()
    }


def _temperature(logits: Floats, labels: NDArray[Any]) -> float:
    """As fitted with one mistake more: where a small slice holds none, nothing is certain yet."""
    mistake = np.abs(logits).mean()
    return fit_temperature(np.append(logits, mistake), np.append(labels, 0))


def _log_loss(logits: Floats, wanted: NDArray[np.bool_]) -> float:
    return float(np.logaddexp(0, np.where(wanted, -logits, logits)).mean())
