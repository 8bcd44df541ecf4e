"""Pre-training: both LSTMs learn to foretell words, for which no review needs a label.

One foretells the next word, the other, which reads backwards, the one before (language models;
Dai and Le, arXiv 1511.01432). Frequent words are asked for less often than they stand (Mikolov et
al., arXiv 1310.4546), and a word is to be told from some drawn ones, not from all (sampled
softmax; Jean et al., arXiv 1412.2007), so that most of the time goes into the LSTMs themselves.
Nothing is dropped: there is much to learn, and in a few epochs little to learn by heart.

B reviews a batch, T words in the longest of them, E numbers a word, H numbers of state, V words
in the dictionary, D draws of K words, to tell R words from that are asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batches import batch_of
from model.examples import Indices
from model.lstm import SentimentLSTM, draw, reverse
from model.objectives import Judgement, words_read
from model.shards import Reviews
from model.vocabulary import FIRST_WORD

_DRAWS = 6  # of words for one direction of a part of a batch, each for its share of what is asked
_DRAWN = 256  # words a draw
_ROWS = 32  # what the rows of a draw's product are filled up to a multiple of
_FREQUENT = 1e-4  # share of all words from which on a word is asked for less often


class Asked(NamedTuple):
    """Which words are to be foretold, and at which places of the batch, read as one row (B T).

    They are dealt to the draws of words to tell them from.
    """

    places: Tensor  # (D, R)
    words: Tensor  # (D, R), 0 where none is


class NextWords(nn.Module):
    """The objective of pre-training. Nothing but the model is of use afterwards."""

    name = "pre-training"
    warm_up = 0.05  # short: at first there is nothing that a high rate could spoil
    lazy = True
    summands = 2  # by direction: they have nothing but words' vectors and biases in common
    # between the steps that have its word a vector does not move, which this makes up for; by
    # trial, of 1, 3, 4 and 5 the loss fell fastest with 4 and 5
    vectors_factor = 4.0

    asked: Tensor
    expected: Tensor
    below: Tensor

    def __init__(self, model: SentimentLSTM, reviews: Reviews) -> None:
        super().__init__()
        config = model.config
        self.model, self.reviews = model, reviews
        self.epoch: Indices = np.arange(len(reviews))
        self.projections = nn.ModuleList(
            nn.Linear(config.hidden_dim, config.embedding_dim) for _ in ("forwards", "backwards")
        )
        self.bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        counts = np.bincount(reviews.tokens, minlength=config.vocabulary_size).astype(np.float64)
        counts[:FIRST_WORD] = 0
        shares = counts / max(1.0, counts.sum())
        asked = np.minimum(1.0, np.sqrt(_FREQUENT / np.maximum(shares, _FREQUENT / 2)))
        drawn = shares**0.75 / max(1e-12, (shares**0.75).sum())
        self._asked_share = float((counts * asked).sum()) / max(1, len(reviews.tokens))
        constants = {
            "asked": asked * (shares > 0),  # (V), at what share of its places
            "expected": np.log(_DRAWN * drawn + 1e-12),  # (V), log of how often a draw has it
            "below": np.cumsum(drawn),  # (V)
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.from_numpy(values).float(), persistent=False)

    @property
    def weights(self) -> Mapping[str, nn.Parameter]:
        """All but the verdict's."""
        left_out = ("model.ngrams.", "model.attention.", "model.output.")
        named = self.named_parameters()
        return {name: weight for name, weight in named if not name.startswith(left_out)}

    def size(self, indices: Indices) -> float:
        """About how many words of these reviews are asked for, in both directions."""
        lengths = np.minimum(self.reviews.lengths[indices], words_read(self.model))
        return max(1.0, 2 * self._asked_share * float(lengths.sum()))

    def judge(self) -> Judgement | None:
        """Nothing: it goes on to the end."""
        return None

    def arrays(self) -> Sequence[NDArray[Any]]:
        return self.reviews.tokens, self.reviews.offsets

    def loss(self, indices: Indices, random: torch.Generator, summand: int) -> Tensor:
        """Summed log loss of the words asked for, in one direction."""
        model, device = self.model, random.device
        batch = batch_of(self.reviews, indices, words_read(model))
        tokens, lengths = (part.to(device) for part in batch)
        lstm = model.forwards
        if summand == 1:
            tokens, lstm = reverse(tokens, lengths), model.backwards
        asked, drawn = self._ask(tokens, random), self._draw(random)  # (D, R), (D, K)
        # looked up at once: one gradient, where three would have to be merged
        looked_up = [tokens, asked.words, drawn]
        vectors = model.embedding(torch.cat([one.flatten() for one in looked_up]))
        parts = vectors.split([one.numel() for one in looked_up])
        words, rights, others = (  # (B, T, E), (D, R, E), (D, K, E)
            part.unflatten(0, one.shape) for part, one in zip(parts, looked_up, strict=True)
        )
        if model.reduced_precision:  # before torch asks whether oneDNN can do what it is given
            words = words.bfloat16()
        with model.precision(device):
            states, _ = lstm(words)  # (B, T, H)
        chosen = states.flatten(0, 1).index_select(0, asked.places.flatten()).float()  # (D R, H)
        foretold = self.projections[summand](chosen).view_as(rights)
        right = (foretold * rights).sum(dim=2) + self._offset(asked.words)  # (D, R)
        wrong = self._wrong(foretold, asked.words, others, drawn)
        return (nn.functional.softplus(wrong - right) * (asked.words > 0)).sum()

    def _wrong(self, foretold: Tensor, words: Tensor, others: Tensor, drawn: Tensor) -> Tensor:
        """Of what is `foretold` (D, R, E), the logit (D, R) of all words but the right ones (D, R).

        It is that of the words its draw has, `drawn` (D, K), with the vectors `others` (D, K, E).
        """
        with self.model.precision(foretold.device):
            logits = foretold @ others.mT  # (D, R, K)
        logits = logits.float() + self._offset(drawn)[:, None]
        with torch.no_grad():  # what is so unlikely has no gradient anyway
            # not infinitely, which has no gradient where all drawn words are the right one
            same = drawn[:, None] == words[..., None]
            logits.masked_fill_(same, torch.finfo(logits.dtype).min)
        return logits.logsumexp(dim=2)

    def _offset(self, words: Tensor) -> Tensor:
        """What is added to a word's logit: its bias, less the log of how often it is drawn."""
        return self.bias[words] - self.expected[words]

    def _ask(self, tokens: Tensor, random: torch.Generator) -> Asked:
        """Some of the words of `tokens` (B, T) that come after another."""
        following = tokens[:, 1:]  # (B, T - 1); padding, word 0, is never asked for
        chosen = draw(following, random) < self.asked[following]
        rows, columns = chosen.nonzero(as_tuple=True)
        return Asked(_dealt(rows * tokens.shape[1] + columns), _dealt(following[chosen]))

    def _draw(self, random: torch.Generator) -> Tensor:
        """Words (D, K) to tell the right one from, the more frequent ones more often."""
        places = torch.rand((_DRAWS, _DRAWN), generator=random, device=random.device)
        return torch.searchsorted(self.below, places, right=True).clamp_(max=len(self.below) - 1)


def _dealt(values: Tensor) -> Tensor:
    """`values`, dealt to the draws (D, R), with zeros at the end.

    All draws get as many, as a product of all at once has it; so many that few products differ in
    shape. In bfloat16 each new shape is compiled first (by oneDNN), which takes many times longer
    than the product, and no two batches ask for as many words.
    """
    missing = -len(values) % (_DRAWS * _ROWS)
    return nn.functional.pad(values, (0, missing)).view(-1, _DRAWS).T.contiguous()
