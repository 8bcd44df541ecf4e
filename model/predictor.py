"""Texts in, probabilities out: what serving and `evaluate` share."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.artifact import Artifact
from model.batches import pad
from model.errors import ModelError
from model.text import is_word

_BATCH = 64
_BATCH_PLACES = 64 * 1024  # words and padding together: one long review is not to stretch others


class Prediction(NamedTuple):
    """`probability` of being positive; `token_count` words with a letter or digit were judged."""

    probability: float
    token_count: int


class Predictor:
    """A loaded artifact, ready to judge."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._model = artifact.model
        self._vocabulary = artifact.vocabulary
        self._tokenize = artifact.vocabulary.text.tokenize

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction a text, in order. A text without a word gets 0.5 and a count of 0.

        Raises ModelError should the model ever give what is no number.
        """
        encoded, counts = [], []
        for text in texts:
            tokens = self._tokenize(text)
            encoded.append(self._vocabulary.encode(tokens))
            counts.append(sum(map(is_word, tokens)))
        logits = np.zeros(len(texts))
        with torch.inference_mode():
            for chosen in self._batches(encoded, counts):
                words, lengths = pad([encoded[index] for index in chosen])
                logits[chosen] = self._model(words, lengths).double().numpy()
        if not np.isfinite(logits).all():
            raise ModelError("the model gave a logit that is no finite number")
        probabilities = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        return [
            Prediction(float(probability), count)
            for probability, count in zip(probabilities, counts, strict=True)
        ]

    @staticmethod
    def _batches(encoded: list[NDArray[np.int32]], counts: list[int]) -> Iterator[list[int]]:
        order = sorted(
            (index for index, count in enumerate(counts) if count),
            key=lambda index: len(encoded[index]),
        )
        batch: list[int] = []
        for index in order:
            size = len(batch) + 1
            if batch and (size > _BATCH or size * len(encoded[index]) > _BATCH_PLACES):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch
