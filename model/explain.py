"""Which words decided: what each word of one review does to the model's logit.

The gradient of the logit in how much each word is there, taken where the words are half there
and where they are all there (two steps of integrated gradients, Sundararajan et al., arXiv
1703.01365): one forward and one backward pass over a batch of two. What two steps miss of the
logit is spread over the words in proportion to their weights, so that these add up to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.batches import pad
from model.errors import ModelError
from model.lstm import SentimentLSTM
from model.offsets import Token
from model.predictor import Predictor
from model.text import is_word

_PRESENCE = (0.5, 1.0)


class WordWeight(NamedTuple):
    """A word as the review has it, `review[start:end]`; a weight above 0 speaks for positive."""

    text: str
    start: int
    end: int
    weight: float


def explain(predictor: Predictor, review: str, *, most: int | None = None) -> list[WordWeight]:
    """The words of a review in their order; with `most`, the heaviest.

    All weights add up to the logit. A review without a word has none.
    """
    artifact = predictor.artifact
    tokens = artifact.vocabulary.text.locate(review)
    if not any(is_word(token.text) for token in tokens):
        return []
    encoded = artifact.vocabulary.encode(token.text for token in tokens)
    words = _merge(review, tokens, word_weights(artifact.model, encoded))
    return words if most is None else _heaviest(words, most)


def _merge(review: str, tokens: Sequence[Token], weights: NDArray[np.float64]) -> list[WordWeight]:
    """One word a place: tokens that overlap in the review (`½` is two) are one, of their sum."""
    words: list[WordWeight] = []
    for token, weight in zip(tokens, weights.tolist(), strict=True):
        start, end = token.start, token.end
        if words and start < words[-1].end:
            last = words.pop()
            start, end, weight = last.start, max(last.end, end), last.weight + weight
        words.append(WordWeight(review[start:end], start, end, weight))
    return words


def word_weights(model: SentimentLSTM, encoded: NDArray[np.int32]) -> NDArray[np.float64]:
    """The weight of each of a review's encoded words (T); they add up to its logit.

    Raises ModelError should the model ever give what is no number.
    """
    weights, logit = presence_gradients(model, encoded)
    size = np.abs(weights) + np.finfo(np.float64).tiny  # no word at all may weigh anything
    weights += (logit - weights.sum()) * size / size.sum()
    return weights


def presence_gradients(
    model: SentimentLSTM, encoded: NDArray[np.int32]
) -> tuple[NDArray[np.float64], float]:
    """The mean gradient in the presence of each word (T), and the logit."""
    tokens, lengths = pad([encoded] * len(_PRESENCE))  # (2, T)
    presence = torch.tensor(_PRESENCE)[:, None].expand(tokens.shape).clone().requires_grad_()
    with torch.enable_grad():
        logits = model(tokens, lengths, presence=presence)  # (2)
        (gradients,) = torch.autograd.grad(logits.sum(), [presence])  # (2, T)
    weights: NDArray[np.float64] = gradients.mean(dim=0).double().numpy()  # (T)
    if not np.isfinite(weights).all():
        raise ModelError("the model gave a gradient that is no finite number")
    return weights, logits[-1].item()


def _heaviest(words: list[WordWeight], most: int) -> list[WordWeight]:
    order = sorted(range(len(words)), key=lambda index: -abs(words[index].weight))
    return [words[index] for index in sorted(order[:most])]
