"""One of two processes that train together; torchrun sets RANK and the like. Usage: … FOLDER"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model import recipe
from model.errors import StoppedError
from model.examples import Examples, split_validation
from model.judging import judge
from model.lstm import LSTMConfig, SentimentLSTM
from model.objectives import Objective, Verdicts
from model.pretraining import NextWords
from model.recipe import guess
from model.settings import TrainingSettings
from model.shards import Reviews, concatenate, select
from model.training import Trainer
from model.workers import Workers, join_workers

# nothing is dropped: what is dropped differs with the parts that a batch is cut into
CONFIG = LSTMConfig(20, embedding_dim=6, hidden_dim=5, dropout=0.0, word_dropout=0.0)
SETTINGS = TrainingSettings(epochs=1, batch_size=8, precision="float32")


def examples() -> Examples:
    random = np.random.default_rng(1)
    lengths = random.integers(1, 9, 60)
    labels = np.tile(np.array([0, 1], np.int8), 30)
    tokens = random.integers(2, 20, lengths.sum()).astype(np.int32)
    reviews = Reviews(tokens, np.append(0, np.cumsum(lengths)), labels)
    training, validation = split_validation(labels, 0.2, 1)
    # one more, that a batch is of one review, of which the second process has no part
    training = np.append(training, training[:1])
    return Examples(reviews, labels.astype(np.float32), training, validation)


def learnable(count: int, seed: int) -> Reviews:
    """Most words of a positive review are among the last of the dictionary."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 9, count)
    labels = np.tile(np.array([0, 1], np.int8), count // 2)
    high = random.random(lengths.sum()) < np.repeat(np.where(labels == 1, 0.8, 0.2), lengths)
    tokens = random.integers(2, 11, lengths.sum()) + 9 * high
    return Reviews(tokens.astype(np.int32), np.append(0, np.cumsum(lengths)), labels)


def trained(
    workers: Workers,
    checkpoints: Path | None = None,
    *,
    stop: bool = False,
    kind: Callable[[SentimentLSTM, Examples], Objective] = Verdicts,
) -> Mapping[str, torch.Tensor]:
    torch.manual_seed(1)
    model = SentimentLSTM(CONFIG)
    Trainer(
        kind(model, examples()),
        SETTINGS,
        checkpoints,
        say=lambda line: None,
        stop_asked=lambda: stop,
        workers=workers,
    ).train()
    return model.state_dict()


def whole_recipe(workers: Workers) -> Mapping[str, torch.Tensor]:
    """The weights that the recipe ends with, and what they say of unseen reviews."""
    unlabelled = replace(learnable(60, 3), labels=np.full(60, -1, np.int8))
    settings = TrainingSettings(
        epochs=3, pretraining_epochs=1, guessing_epochs=1, learning_rate=0.03, batch_size=16
    )
    model, _ = recipe.train(
        LSTMConfig(20, embedding_dim=6, hidden_dim=5, dropout=0.1),
        recipe.Corpus(learnable(200, 1), unlabelled, concatenate([])),
        recipe.Run(settings, say=lambda line: None, workers=workers),
    )
    said = judge(model, learnable(4000, 9), np.arange(4000))
    return {**model.state_dict(), "said": torch.from_numpy(said)}


def sum_of_rows(workers: Workers) -> torch.Tensor:
    """The sum of sparse gradients of which each process has another row."""
    model = SentimentLSTM(CONFIG)
    objective = next_words(model, examples())
    model.embedding.sparse = True
    vectors = model.embedding.weight
    gradients = []
    for weight in objective.weights.values():
        gradient = torch.zeros_like(weight)
        if weight is vectors:
            gradient[2 + workers.rank] = 1.0
            gradient = gradient.to_sparse(1)
        gradients.append(gradient)
    sums = Trainer(objective, SETTINGS, workers=workers)._sum(gradients)
    (found,) = (one for one in sums if one.is_sparse)
    return found.to_dense()


def next_words(model: SentimentLSTM, examples: Examples) -> Objective:
    # of as many that the last batch is of one review, of which the second process has no part
    return NextWords(model, select(examples.reviews, np.arange(57)))


def main(folder: Path) -> None:
    with join_workers() as workers:
        found = {"sum": torch.full((2, 2), 1.0 + workers.rank), "copy": torch.ones(1)}
        more = torch.tensor([10.0 * workers.rank])
        workers.sum([found["sum"], more])
        found |= {"more": more, "copy": found["copy"] * (5 + workers.rank)}
        workers.copy([found["copy"]])
        found |= trained(workers)
        found["rows"] = sum_of_rows(workers)
        pretrained = trained(workers, kind=next_words)
        found |= {f"pretrained.{name}": weight for name, weight in pretrained.items()}
        found |= {f"recipe.{name}": value for name, value in whole_recipe(workers).items()}
        # as a processor of another make may find them, but more so
        recipe.guess = lambda *given: guess(*given) * np.float32(1 - 0.2 * workers.rank)
        found |= {f"other.{name}": value for name, value in whole_recipe(workers).items()}
        try:
            trained(workers, folder / "checkpoints", stop=workers.rank == 1)
        except StoppedError:
            found["stopped"] = torch.ones(1)
    np.savez(
        folder / f"{workers.rank}.npz", **{name: value.numpy() for name, value in found.items()}
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
