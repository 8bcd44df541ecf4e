"""What a run of training makes smaller."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batches import batch_of
from model.calibration import fit_platt
from model.examples import Examples, Indices
from model.judging import judge_lstm, log_loss
from model.lstm import SentimentLSTM
from model.shards import Reviews

_MOST_READ = 400
# Vectors that have learned from many reviews already would learn films by heart from the few with
# labels. The more they have read, the slower they learn; by trial, a third of the slowest is too
# slow, and after a few thousand reviews nothing is known yet.
_LITTLE_READ = 4500  # reviews; after twice as many, half the rate
_SLOWEST = 0.03


def words_read(model: SentimentLSTM) -> int:
    """Words of a review in training: a long one has enough in fewer than are read of it later."""
    return min(_MOST_READ, model.config.max_review_length)


class Judgement(NamedTuple):
    """On the slice held out; the loss is the log loss once calibrated there."""

    accuracy: float
    loss: float


class Objective(Protocol):
    """A loss of some reviews under some weights."""

    name: str
    warm_up: float  # share of the steps in which the learning rate rises
    summands: int  # of the loss, each of which has gradients of its own
    lazy: bool  # whether a word that a batch has not is left alone by that batch's step
    vectors_factor: float  # of the learning rate, for the words' vectors
    model: SentimentLSTM
    reviews: Reviews
    epoch: Indices  # of `reviews`: what is met in one, in any order

    @property
    def weights(self) -> Mapping[str, nn.Parameter]:
        """What is trained."""

    def loss(self, indices: Indices, random: torch.Generator, summand: int) -> Tensor:
        """One summand of the loss, summed over these reviews."""

    def size(self, indices: Indices) -> float:
        """What that sum is to be divided by."""

    def judge(self) -> Judgement | None:
        """How good the weights are, if that is to decide which epoch's are kept."""

    def arrays(self) -> Sequence[NDArray[Any]]:
        """All data that is read: a checkpoint is of use to a run that reads the same."""


class Verdicts:
    """To say of each review what is to be said, a label or a guess."""

    lazy = False
    summands = 1
    warm_up = 0.3

    def __init__(
        self,
        model: SentimentLSTM,
        examples: Examples,
        name: str = "training",
        *,
        reviews_read: int = 0,
    ) -> None:
        """`reviews_read`: how many the vectors have learned from in pre-training, all epochs."""
        self.name, self.model = name, model
        self.vectors_factor = max(_SLOWEST, _LITTLE_READ / max(_LITTLE_READ, reviews_read))
        self.reviews, self.epoch = examples.reviews, examples.training
        self.weights: Mapping[str, nn.Parameter] = {
            name: weight
            for name, weight in model.named_parameters()
            if not name.startswith("ngrams.")
        }
        self._examples = examples

    def loss(self, indices: Indices, random: torch.Generator, summand: int) -> Tensor:
        """Summed log loss of the LSTM's verdicts, the only summand."""
        device = random.device
        tokens, lengths = batch_of(self.reviews, indices, words_read(self.model))
        targets = torch.from_numpy(self._examples.targets[indices]).to(device)  # (B)
        logits = self.model.read(tokens.to(device), lengths.to(device), random)  # (B)
        return nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")

    def size(self, indices: Indices) -> float:
        return len(indices)

    def arrays(self) -> Sequence[NDArray[Any]]:
        reviews = self.reviews
        examples = self._examples
        return reviews.tokens, reviews.offsets, examples.targets, self.epoch, examples.validation

    def judge(self) -> Judgement:
        validation = self._examples.validation
        logits = judge_lstm(self.model, self.reviews, validation)
        wanted = self._examples.targets[validation] >= 0.5
        temperature, shift = fit_platt(logits, wanted)
        loss = log_loss((logits + shift) / temperature, wanted)
        return Judgement(float(((logits >= 0) == wanted).mean()), loss)
