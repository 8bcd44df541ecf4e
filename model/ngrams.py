"""The n-gram branch: which words, pairs and triples of words occur, and how each of them speaks.

An n-gram is one 64-bit key, its words' ids as the digits of a number. The branch is linear in
"the review has it or not"; its weights are those of NBSVM (Wang and Manning, ACL 2012) with
logistic regression in the place of the SVM.

B reviews a batch, T words in the longest of them, N n-grams in the table.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import DataError
from model.shards import Reviews
from model.threads import thread_map
from model.vocabulary import FIRST_WORD

ORDER = 3  # words in the longest n-gram
MAX_VOCABULARY = 2**21  # three ids then fit into 63 bits
_MIN_REVIEWS = 2  # an n-gram of a single review says nothing of others
_AT_A_TIME = 1 << 18  # of what is summed, by trial: less costs calls, more does not stay in cache

Keys = NDArray[np.int64]
Floats = NDArray[np.float64]


class NgramBranch(nn.Module):
    """Sum of the weights of the n-grams that a review has, each counted once."""

    keys: Tensor

    def __init__(self, count: int, vocabulary_size: int) -> None:
        super().__init__()
        self._base = vocabulary_size
        self.register_buffer("keys", torch.zeros(count, dtype=torch.int64))  # (N), ascending
        self.weight = nn.Parameter(torch.zeros(count))  # (N)
        self.bias = nn.Parameter(torch.zeros(1))

    @torch.no_grad()
    def set(self, keys: Keys, weights: Floats, bias: float) -> None:
        """Take what was fitted."""
        self.keys.copy_(torch.from_numpy(keys))
        self.weight.copy_(torch.from_numpy(weights))
        self.bias.fill_(bias)

    def forward(self, tokens: Tensor, presence: Tensor | None = None) -> Tensor:
        """Logits (B); an n-gram is there as far as its words are there, on the mean."""
        if not len(self.keys):
            return self.bias.expand(len(tokens))
        keys, there = self._read(tokens, presence)  # (B, 3T - 3) each
        places = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        known = self.keys[places] == keys
        row = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(keys)[known]
        place = places[known]
        # where a review repeats an n-gram, its weight is shared out
        _, kind, times = torch.unique(
            row * len(self.keys) + place, return_inverse=True, return_counts=True
        )
        shares = self.weight[place] / times[kind]
        if presence is not None:
            shares = shares * there[known]
        sums: Tensor = shares.new_zeros(len(tokens)).index_add(0, row, shares)  # (B)
        return self.bias + sums

    def _read(self, tokens: Tensor, presence: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys of all n-grams, -1 where one holds no proper word, and how much they are there."""
        keys, sums = [], []
        for order in range(1, min(ORDER, tokens.shape[1]) + 1):
            windows = tokens.unfold(1, order, 1)  # (B, T - order + 1, order)
            key = windows[..., 0]
            for place in range(1, order):
                key = key * self._base + windows[..., place]
            keys.append(key.masked_fill((windows < FIRST_WORD).any(dim=2), -1))
            if presence is not None:
                sums.append(presence.unfold(1, order, 1).mean(dim=2))
        return torch.cat(keys, dim=1), torch.cat(sums, dim=1) if sums else torch.empty(0)


@dataclass(frozen=True)
class NgramTable:
    """Which review has which n-gram: a sparse matrix of ones, by review and by n-gram."""

    keys: Keys  # (N), ascending
    reviews: int
    ngram_of: NDArray[np.int32]  # n-grams of review 0, then of review 1, …
    review_starts: Keys  # (reviews + 1)
    review_of: NDArray[np.int32]  # reviews with n-gram 0, then with n-gram 1, …
    ngram_starts: Keys  # (N + 1)

    def logits(self, weights: Floats) -> Floats:
        """The sum of the weights of each review's n-grams (reviews)."""
        return _sums(weights, self.ngram_of, self.review_starts)

    def gradient(self, residuals: Floats) -> Floats:
        """The sum of the residuals of the reviews with each n-gram (N)."""
        return _sums(residuals, self.review_of, self.ngram_starts)


def _sums(values: Floats, chosen: NDArray[np.int32], starts: Keys) -> Floats:
    """Of each stretch of `chosen`, from one of `starts` to the next, the sum of these `values`."""
    sums = np.zeros(len(starts) - 1)
    full = np.diff(starts) > 0  # `reduceat` gives an empty stretch its neighbour's first value

    def add(rows: slice) -> None:
        first, last = starts[rows.start], starts[rows.stop]
        here = full[rows]
        if here.any():
            picked = np.take(values, chosen[first:last])
            sums[rows][here] = np.add.reduceat(picked, starts[rows][here] - first)

    bounds = np.searchsorted(starts, np.arange(_AT_A_TIME, starts[-1], _AT_A_TIME))
    bounds = np.unique([0, *bounds, len(sums)])
    with thread_map() as each:
        list(each(add, [slice(*pair) for pair in itertools.pairwise(bounds)]))
    return sums


def build_table(reviews: Reviews, vocabulary_size: int) -> NgramTable:
    """All n-grams that at least two of the reviews have."""
    if vocabulary_size > MAX_VOCABULARY:
        raise DataError(
            f"the dictionary has {vocabulary_size} entries; n-grams take up to {MAX_VOCABULARY}"
        )
    keys, owners = _occurrences(reviews, vocabulary_size)
    distinct, number = np.unique(keys, return_inverse=True)
    count = len(reviews)
    pairs = _once(number * np.int64(count) + owners)  # by n-gram, then by review
    ngram = pairs // count
    frequent = np.bincount(ngram, minlength=len(distinct)) >= _MIN_REVIEWS
    pairs = pairs[frequent[ngram]]
    renumbered = np.cumsum(frequent) - 1
    ngram, owner = renumbered[pairs // count], pairs % count
    by_review = np.sort(owner * np.int64(max(1, frequent.sum())) + ngram)
    total = max(1, int(frequent.sum()))
    return NgramTable(
        keys=distinct[frequent],
        reviews=count,
        ngram_of=(by_review % total).astype(np.int32),
        review_starts=np.searchsorted(by_review // total, np.arange(count + 1)),
        review_of=owner.astype(np.int32),
        ngram_starts=np.searchsorted(ngram, np.arange(int(frequent.sum()) + 1)),
    )


def _occurrences(reviews: Reviews, base: int) -> tuple[Keys, Keys]:
    """Key and review of each place where an n-gram of proper words stands."""
    tokens = reviews.tokens.astype(np.int64)
    owner = np.repeat(np.arange(len(reviews)), reviews.lengths)
    keys, owners = [], []
    key, proper = np.zeros_like(tokens), np.ones(len(tokens), dtype=bool)
    for order in range(1, ORDER + 1):
        last = slice(order - 1, len(tokens))
        places = max(0, len(tokens) - order + 1)
        key = key[:places] * base + tokens[last]
        proper = proper[:places] & (tokens[last] >= FIRST_WORD)
        inside = proper & (owner[:places] == owner[last])
        keys.append(key[inside])
        owners.append(owner[:places][inside])
    return np.concatenate(keys), np.concatenate(owners)


def _once(values: Keys) -> Keys:
    values = np.sort(values)
    return values[np.diff(values, prepend=-1) > 0]


def fit_ngrams(
    table: NgramTable,
    targets: Floats,
    importance: Floats,
    *,
    strength: float = 10.0,
    iterations: int = 40,
) -> tuple[Floats, float]:
    """Weights (N) and bias of a logistic regression on log-count ratios.

    `targets` (reviews) are probabilities of being positive, `importance` (reviews) weighs each
    review's loss, `strength` is that of the penalty on the squared coefficients.
    """
    ratios = _log_count_ratios(table, targets, importance)
    coefficients = torch.zeros(len(ratios) + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [coefficients], max_iter=iterations, history_size=5, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        values = coefficients.detach().numpy()
        logits = table.logits(values[:-1] * ratios) + values[-1]
        residuals = importance * (1 / (1 + np.exp(-np.clip(logits, -60, 60))) - targets)
        gradient = np.append(table.gradient(residuals) * ratios, residuals.sum())
        gradient[:-1] += strength * values[:-1]
        coefficients.grad = torch.from_numpy(gradient)
        losses = importance * (np.logaddexp(0, logits) - targets * logits)
        return float(losses.sum() + strength / 2 * (values[:-1] ** 2).sum())

    solver.step(loss)  # type: ignore[no-untyped-call]
    found = coefficients.detach().numpy()
    return found[:-1] * ratios, float(found[-1])


def _log_count_ratios(table: NgramTable, targets: Floats, importance: Floats) -> Floats:
    """How much more often each n-gram stands in positive reviews, as a logarithm (N)."""
    positive = 1 + table.gradient(importance * targets)
    negative = 1 + table.gradient(importance * (1 - targets))
    ratios: Floats = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    return ratios
