"""What a model says of encoded reviews, many at a time: a batch a thread."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batches import batch_of, in_length_order
from model.lstm import SentimentLSTM
from model.shards import Reviews
from model.threads import thread_map

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Branches = dict[str, Floats]
Say = Callable[[Tensor, Tensor], dict[str, Tensor]]

_BATCH = 16  # reviews; more do not stay in a core's cache
_GPU_BATCH = 128


def judge(model: SentimentLSTM, reviews: Reviews, indices: Indices) -> Floats:
    """Probability of being positive for each of `indices`, in their order."""
    logits = combine(model, judge_branches(model, reviews, indices))
    return probability(logits)


def judge_branches(model: SentimentLSTM, reviews: Reviews, indices: Indices) -> Branches:
    """The logit of each branch by itself, at no temperature, for each of `indices`."""
    return _over_batches(model, reviews, indices, model.branch_logits)


def judge_lstm(model: SentimentLSTM, reviews: Reviews, indices: Indices) -> Floats:
    """The logit of the LSTM alone for each of `indices`."""
    return _over_batches(
        model, reviews, indices, lambda tokens, lengths: {"lstm": model.read(tokens, lengths)}
    )["lstm"]


def combine(model: SentimentLSTM, branches: Branches) -> Floats:
    """The model's logits, calibrated, from those of its branches."""
    device = model.temperature.device
    tensors = {name: torch.from_numpy(logits).to(device) for name, logits in branches.items()}
    with torch.inference_mode():
        return np.asarray(model.combine(tensors).double().cpu().numpy())


def probability(logits: Floats) -> Floats:
    """Of being positive."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


def log_loss(logits: Floats, wanted: NDArray[np.bool_]) -> float:
    """Mean over the reviews."""
    return float(np.logaddexp(0, np.where(wanted, -logits, logits)).mean())


def _over_batches(
    model: SentimentLSTM, reviews: Reviews, indices: Indices, say: Say
) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    device = model.temperature.device

    @torch.inference_mode()
    def judge_batch(chosen: Indices) -> None:
        tokens, lengths = batch_of(reviews, chosen)
        said = say(tokens.to(device), lengths.to(device))
        for name, logits in said.items():
            found.setdefault(name, np.zeros(len(reviews)))[chosen] = logits.double().cpu().numpy()

    size = _BATCH if device.type == "cpu" else _GPU_BATCH
    batches = in_length_order(reviews.lengths, indices, size)
    with thread_map() as each:
        list(each(judge_batch, batches))
    empty = reviews.lengths == 0  # nothing to judge
    for logits in found.values():
        logits[empty] = 0.0
    return {name: logits[indices] for name, logits in found.items()}
