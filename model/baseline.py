"""The baseline of every evaluation: NBSVM, a bag of n-grams that takes a minute to train.

Wang and Manning, Baselines and Bigrams, ACL 2012, with logistic regression in the place of the
SVM. It reads the same tokens, of the training reviews alone. A model that is no better has not
earned its cost.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from model.batches import in_length_order, pad
from model.judging import probability
from model.ngrams import NgramBranch, build_table, fit_ngrams
from model.shards import Reviews
from model.threads import thread_map

_BATCH = 64


def fit_baseline(train: Reviews, vocabulary_size: int) -> NgramBranch:
    """Fit on all labelled reviews of `train`."""
    table = build_table(train, vocabulary_size)
    targets = (train.labels == 1).astype(np.float64)
    weights, bias = fit_ngrams(table, targets, np.ones(len(targets)))
    branch = NgramBranch(len(table.keys), vocabulary_size)
    branch.set(table.keys, weights, bias)
    return branch.requires_grad_(False)


def judge_baseline(branch: NgramBranch, reviews: Reviews) -> NDArray[np.float64]:
    """Probability of being positive for each review (reviews); long ones are read whole."""
    logits = np.zeros(len(reviews))

    @torch.inference_mode()
    def judge_batch(chosen: NDArray[np.int64]) -> None:
        tokens, _ = pad([reviews[index] for index in chosen])
        logits[chosen] = branch(tokens).double().numpy()

    batches = in_length_order(reviews.lengths, np.arange(len(reviews)), _BATCH)
    with thread_map() as each:
        list(each(judge_batch, batches))
    return probability(logits)
