"""How a gradient becomes a step: which optimizer moves which weights, and how far."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.objectives import Objective

_MUON_FACTOR = 20 / 3  # by trial, see ablations.json: 0.02 at the highest rate of 0.003
_BETAS = (0.9, 0.99)  # of Adam in pre-training
_START, _END = 1 / 25, 1 / 10_000  # of the peak rate


class Part:
    """Some rows of a weight, a parameter of their own in the weight's memory."""

    def __init__(self, whole: Tensor, which: slice) -> None:
        self._whole, self._which = whole, which
        self.rows = nn.Parameter(whole.data[which])

    def follow(self) -> None:
        """Take the whole's gradient, and its memory, which may have become another since."""
        gradient = self._whole.grad
        self.rows.data = self._whole.data[self._which]
        self.rows.grad = None if gradient is None else gradient[self._which]


class Optimizer(NamedTuple):
    """One of torch's, and what the learning rate is times for its weights."""

    torchs: torch.optim.Optimizer
    factor: float
    part: Part | None = None  # whose gradient is that of some rows of a weight

    def step(self, rate: float) -> None:
        for group in self.torchs.param_groups:
            group["lr"] = rate * self.factor
        if self.part is not None:
            self.part.follow()
        self.torchs.step()
        if self.part is not None:
            self.part.rows.grad = None  # which else would outlive the whole's


def learning_rate(step: int, total_steps: int, peak: float, warm_up: float) -> float:
    """One cycle: up along a cosine, then down to next to nothing (Smith, arXiv 1708.07120).

    `warm_up` is the share of the steps in which it rises.
    """
    rise = max(1.0, warm_up * total_steps)
    if step < rise:
        low, high, part = _START, 1.0, step / rise
    else:
        low, high, part = 1.0, _END, (step - rise) / max(1.0, total_steps - rise)
    return peak * (low + (high - low) * (1 - math.cos(math.pi * part)) / 2)


def optimizers_of(objective: Objective) -> list[Optimizer]:
    """For all weights of an objective."""
    vectors = objective.model.embedding.weight
    others = [weight for weight in objective.weights.values() if weight is not vectors]
    if not objective.lazy:
        factor, middle = objective.vectors_factor, len(vectors) // 2
        # vectors are nearly all of the weights: half of them for each of two threads
        halves = Part(vectors, slice(middle)), Part(vectors, slice(middle, None))
        return [
            Optimizer(torch.optim.Adam(others, fused=True), 1.0),
            *(Optimizer(torch.optim.Adam([one.rows], fused=True), factor, one) for one in halves),
        ]
    # Muon learns in one epoch of pre-training what Adam does in two (Jordan 2024,
    # kellerjordan.github.io/posts/muon)
    matrices = [
        [weight for weight in direction.parameters() if weight.dim() == 2]
        for direction in (objective.model.forwards, objective.model.backwards)
    ]
    apart = {id(weight) for weight in (*matrices[0], *matrices[1])}
    others = [weight for weight in others if id(weight) not in apart]
    return [
        *(Optimizer(torch.optim.Muon(some, weight_decay=0.0), _MUON_FACTOR) for some in matrices),
        # looks at the vectors of words alone that the batch has
        Optimizer(torch.optim.SparseAdam([vectors], betas=_BETAS), objective.vectors_factor),
        Optimizer(torch.optim.Adam(others, fused=True, betas=_BETAS), 1.0),
    ]
