"""How long, how fast and how carefully the LSTM is trained."""

import math
from dataclasses import dataclass

from model.errors import DataError

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainingSettings:
    """`pretraining_epochs` is how often all reviews are read without their labels, first of all;
    `guessing_epochs` how often a copy reads the labels before it guesses those of the unlabelled
    reviews, which then are learned too; with 0 none are.
    `patience` is the number of epochs without a better one after which training ends.

    Of few reviews a batch holds fewer than `batch_size`, so that an epoch still has some steps.
    `precision` is that of the LSTM's multiplications in training and guessing: "auto" is bfloat16
    where the processor multiplies such numbers faster. Weights are float32 always.
    """

    epochs: int = 2
    pretraining_epochs: int = 2
    guessing_epochs: int = 2
    batch_size: int = 64
    learning_rate: float = 1e-2
    clip_norm: float = 1.0
    validation_fraction: float = 0.1
    patience: int = 2
    seed: int = 1
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("pretraining_epochs", "guessing_epochs"):
            if getattr(self, name) < 0:
                raise DataError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise DataError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 < self.validation_fraction < 0.9:
            raise DataError(
                f"validation_fraction is {self.validation_fraction}; it must be above 0, below 0.9"
            )
        if self.precision not in PRECISIONS:
            raise DataError(f"precision is {self.precision}; valid are: {', '.join(PRECISIONS)}")
        if not 0 <= self.seed < 2**31:
            raise DataError(f"seed is {self.seed}; it must be at least 0 and below 2^31")
