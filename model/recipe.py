"""The recipe: n-grams first, then an LSTM that learns from labels and from the n-grams, then both.

1. The n-gram branch is fitted to the labelled reviews but for the slice held out.
2. It guesses how likely each unlabelled review is positive, calibrated on the slice.
3. The LSTM learns from labels and guesses alike (distillation, Hinton et al., arXiv 1503.02531).
4. How much each branch counts, and the temperature of their mean, are fitted on the slice.

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
from model.examples import Examples, Indices, split_validation
from model.judging import Floats, combine, judge_branches, judge_ngrams, probability
from model.lstm import LSTMConfig, SentimentLSTM
from model.ngrams import build_table, fit_ngrams
from model.shards import Reviews, concatenate, select
from model.training import Say, Trainer, TrainingSettings

_SHARES = np.linspace(0.0, 1.0, 101)


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
) -> tuple[SentimentLSTM, dict[str, Any]]:
    """A trained model, and training_history.json: settings, a row an epoch, what was fitted."""
    labels = corpus.labelled.labels
    training, validation = split_validation(labels, settings.validation_fraction, settings.seed)
    model = with_ngrams(config, settings, corpus.labelled, training)
    say(f"n-grams: {model.config.ngram_count}")
    examples = distil(model, corpus, training, validation)
    trainer = Trainer(model, settings, examples, checkpoints, say, stop_asked)
    trainer.train()
    mixed = mix(model, examples)
    say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in mixed.items()))
    return model, trainer.history_json() | {"mix": mixed}


def with_ngrams(
    config: LSTMConfig, settings: TrainingSettings, labelled: Reviews, training: Indices
) -> SentimentLSTM:
    """A model whose n-gram branch is fitted and whose LSTM is new."""
    chosen = select(labelled, training)
    table = build_table(chosen, config.vocabulary_size)
    targets = (chosen.labels == 1).astype(np.float64)
    weights, bias = fit_ngrams(table, targets, np.ones(len(chosen)))
    torch.manual_seed(settings.seed)
    model = SentimentLSTM(replace(config, ngram_count=len(table.keys)))
    model.ngrams.set(table.keys, weights, bias)
    return model


def distil(
    model: SentimentLSTM, corpus: Corpus, training: Indices, validation: Indices
) -> Examples:
    """What the LSTM learns from: the labelled reviews, and the n-grams' guess of the others."""
    labelled, unlabelled = corpus.labelled, corpus.unlabelled
    targets = (labelled.labels == 1).astype(np.float32)
    guesses = np.empty(0, np.float32)
    if len(unlabelled):
        logits = judge_ngrams(model, labelled, validation)
        temperature = _temperature(logits, targets[validation])
        logits = judge_ngrams(model, unlabelled, np.arange(len(unlabelled)))
        guesses = probability(logits / temperature).astype(np.float32)
    guessed = np.arange(len(labelled), len(labelled) + len(guesses))
    return Examples(
        reviews=concatenate([labelled, unlabelled]),
        targets=np.concatenate([targets, guesses]),
        training=np.concatenate([training, guessed]),
        validation=validation,
    )


def mix(model: SentimentLSTM, examples: Examples) -> dict[str, float]:
    """Set the n-grams' share and the temperature to what gives the slice the least log loss."""
    branches = judge_branches(model, examples.reviews, examples.validation)
    wanted = examples.targets[examples.validation] >= 0.5
    best = np.inf
    for share in _SHARES:
        logits = (1 - share) * branches["lstm"] + share * branches["ngrams"]
        temperature = _temperature(logits, wanted)
        loss = _log_loss(logits / temperature, wanted)
        if loss < best:
            best, chosen = loss, (float(share), temperature)
    model.ngram_share.fill_(chosen[0])
    model.temperature.fill_(chosen[1])
    logits = combine(model, branches)
    figures = {
        "ngram_share": chosen[0],
        "temperature": chosen[1],
        "validation_accuracy": float(((logits >= 0) == wanted).mean()),
        "lstm_accuracy": float(((branches["lstm"] >= 0) == wanted).mean()),
        "ngram_accuracy": float(((branches["ngrams"] >= 0) == wanted).mean()),
        "calibration_error": expected_calibration_error(wanted, probability(logits)),
    }
    return {name: round(value, 6) for name, value in figures.items()}


def _temperature(logits: Floats, labels: NDArray[Any]) -> float:
    """As fitted with one mistake more: where a small slice holds none, nothing is certain yet."""
    mistake = np.abs(logits).mean()
    return fit_temperature(np.append(logits, mistake), np.append(labels, 0))


def _log_loss(logits: Floats, wanted: Any) -> float:
    return float(np.logaddexp(0, np.where(wanted, -logits, logits)).mean())
