"""The model: words in, one number out. Reads from top to bottom.

Two branches judge a review, an LSTM by the order of its words and a linear one by its n-grams;
what is returned is their weighted mean over a temperature, which makes it a calibrated logit.

B reviews a batch, T words in the longest of them, E numbers a word, H numbers of state, A places
of attention.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.errors import DataError
from model.ngrams import NgramBranch
from model.vocabulary import INFREQUENT_WORD, NO_WORD


@dataclass(frozen=True)
class LSTMConfig:
    """Everything that decides the shapes of the weights, and how they are used.

    `vocabulary_size` counts all ids, the two reserved ones included; `ngram_count` is how many
    n-grams the linear branch knows.
    """

    vocabulary_size: int
    ngram_count: int = 0
    embedding_dim: int = 128
    hidden_dim: int = 128
    attention: int = 4  # means in which words count as much as they are attended to
    max_review_length: int = 1000  # words of a long review that the LSTMs read
    dropout: float = 0.5  # of what is pooled; half of that of the words' vectors
    word_dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in (
            "vocabulary_size",
            "embedding_dim",
            "hidden_dim",
            "attention",
            "max_review_length",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 10_000_000:
                raise DataError(
                    f"{name} is {value!r}; it must be a whole number from 1 to 10000000"
                )
        if not isinstance(self.ngram_count, int) or not 0 <= self.ngram_count <= 100_000_000:
            raise DataError(f"ngram_count is {self.ngram_count!r}; it must be a whole number")
        for name in ("dropout", "word_dropout"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise DataError(f"{name} is {value!r}; it must be at least 0 and below 1")

    @classmethod
    def from_json(cls, value: Any) -> "LSTMConfig":
        if not isinstance(value, dict) or set(value) != set(cls.__dataclass_fields__):
            names = ", ".join(cls.__dataclass_fields__)
            raise DataError(f"the model's config must hold exactly: {names}")
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class SentimentLSTM(nn.Module):
    """One LSTM reads forwards, one backwards; what they hold over all of the review is judged.

    That is pooled three ways: each unit's strongest response, its mean, and means in which words
    count as much as they are attended to (Bahdanau et al., arXiv 1409.0473).

    A review's logit does not depend on what else is in its batch: both directions start at the
    review's own first word, so padding always comes last, and pooling leaves it out.
    """

    ngram_share: Tensor
    temperature: Tensor

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        embedding_dim, hidden_dim = config.embedding_dim, config.hidden_dim
        self.embedding = nn.Embedding(config.vocabulary_size, embedding_dim, padding_idx=NO_WORD)
        self.forwards = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.backwards = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        # how much each word counts is a share of all, which a bias would not change
        self.attention = nn.Linear(2 * hidden_dim, config.attention, bias=False)
        self.output = nn.Linear((2 + config.attention) * 2 * hidden_dim, 1)
        self.ngrams = NgramBranch(config.ngram_count, config.vocabulary_size)
        self.register_buffer("ngram_share", torch.zeros(1))  # of the weighted mean, 0 to 1
        self.register_buffer("temperature", torch.ones(1))
        self.reduced_precision = False  # multiply in bfloat16, as training and guessing may
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        H = self.config.hidden_dim
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.embedding.weight[NO_WORD] = 0.0
        for name, weight in self.named_parameters():
            if name.endswith("weight_hh_l0"):
                nn.init.orthogonal_(weight)
            elif name.startswith("attention.") or name.endswith(("bias_ih_l0", "bias_hh_l0")):
                nn.init.zeros_(weight)
            if name.endswith("bias_ih_l0"):
                # gates lie in the order input, forget, cell, output: remember by default
                weight[H : 2 * H] = 1.0

    def forward(self, tokens: Tensor, lengths: Tensor, presence: Tensor | None = None) -> Tensor:
        """Logits (B) of being positive, for `tokens` (B, T) padded with 0, `lengths` (B) >= 1.

        `presence` (B, T) says how much each word is there, from 0 to 1; the gradient in it is
        what each word does to the logit.
        """
        return self.combine(self.branch_logits(tokens, lengths, presence))

    def branch_logits(
        self, tokens: Tensor, lengths: Tensor, presence: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What each branch says by itself (B), by its name."""
        return {
            "lstm": self.read(tokens, lengths, presence=presence),
            "ngrams": self.ngrams(tokens, presence),
        }

    def combine(self, branches: dict[str, Tensor]) -> Tensor:
        """One calibrated logit (B) of the branches' logits (B)."""
        share = self.ngram_share
        return ((1 - share) * branches["lstm"] + share * branches["ngrams"]) / self.temperature

    def read(
        self,
        tokens: Tensor,
        lengths: Tensor,
        random: torch.Generator | None = None,
        presence: Tensor | None = None,
    ) -> Tensor:
        """Logits (B) of the LSTM alone, which reads of a long review what `batches.crop` leaves.

        With `random`, as in training, words and features are dropped as it draws; without, none.
        """
        config = self.config
        if tokens.shape[1] > config.max_review_length:
            places = _places_read(lengths, config.max_review_length)  # (B, T), T from here on less
            tokens, lengths = tokens.take_along_dim(places, 1), lengths.clamp(max=places.shape[1])
            presence = presence if presence is None else presence.take_along_dim(places, 1)
        time = torch.arange(tokens.shape[1], device=tokens.device)  # (T)
        padding = time >= lengths[:, None]  # (B, T)
        if random is not None:
            unread = draw(tokens, random) < config.word_dropout  # (B, T)
            tokens = tokens.masked_fill(unread & ~padding, INFREQUENT_WORD)
        words = drop(self.embedding(tokens), config.dropout / 2, random)  # (B, T, E)
        if presence is not None:
            words = words * presence[..., None]  # (B, T, E)
        there, back = self.states(words, lengths)
        states = torch.cat([there, reverse(back, lengths)], dim=2).float()  # (B, T, 2H)
        pooled = drop(self.pool(states, padding[..., None]), config.dropout, random)
        logits: Tensor = self.output(pooled)  # (B, 1)
        return logits.squeeze(1)

    def pool(self, states: Tensor, padding: Tensor) -> Tensor:
        """All of the states (B, T, 2H) in one row (B, (2 + A) 2H); `padding` is (B, T, 1)."""
        strongest: Tensor = Strongest.apply(states, padding)  # type: ignore[no-untyped-call]  # (B, 2H)
        weights = self.attention(states).masked_fill(padding, -torch.inf).softmax(dim=1)
        evenly = (~padding).float() / (~padding).sum(dim=1, keepdim=True)  # (B, T, 1)
        weights = torch.cat([evenly, weights], dim=2)  # (B, T, 1 + A)
        means = weights.transpose(1, 2) @ states  # (B, 1 + A, 2H)
        return torch.cat([strongest, means.flatten(1)], dim=1)

    def states(self, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What each LSTM holds after each of the words (B, T, E): (B, T, H), in its own order."""
        with self.precision(words.device):
            if self.reduced_precision:
                words = words.bfloat16()  # once: their two gradients are added up so, too
            there, _ = self.forwards(words)
            back, _ = self.backwards(reverse(words, lengths))
        return there, back

    def precision(self, device: torch.device) -> torch.autocast:
        """Under which a block multiplies in bfloat16, if that was asked for."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.reduced_precision)


def _places_read(lengths: Tensor, most: int) -> Tensor:
    """Where the words (B, most) stand that are read: the first third, then the last two."""
    place = torch.arange(most, device=lengths.device)
    left_out = (lengths - most).clamp(min=0)[:, None] * (place >= most // 3)  # (B, most)
    return place + left_out


def reverse(values: Tensor, lengths: Tensor) -> Tensor:
    """`values` (B, T) or (B, T, E) of each review in reverse order; padding stays at the end."""
    time = torch.arange(values.shape[1], device=values.device)  # (T)
    order = torch.where(time >= lengths[:, None], time, lengths[:, None] - 1 - time)  # (B, T)
    # of one long row, since torch picks whole rows faster than one number after the other
    rows = order + values.shape[1] * torch.arange(len(values), device=values.device)[:, None]
    reversed_values: Tensor = Reordered.apply(  # type: ignore[no-untyped-call]
        values.flatten(0, 1), rows.flatten()
    )
    return reversed_values.view_as(values)


class Reordered(torch.autograd.Function):
    """`values` (N, E) in the order of `rows` (N), which taken twice is the first order again.

    So is a reversal. The gradient goes back the same way; torch would add it up row by row.
    """

    @staticmethod
    def forward(context: Any, values: Tensor, rows: Tensor) -> Tensor:
        context.save_for_backward(rows)
        return values.index_select(0, rows)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = context.saved_tensors
        return gradient.index_select(0, rows), None


class Strongest(torch.autograd.Function):
    """The highest of the states (B, T, 2H) over all words but the `padding` (B, T, 1): (B, 2H).

    Words that are equally strong share the gradient, as with torch's `amax`, which takes three
    times as long to say so.
    """

    @staticmethod
    def forward(context: Any, states: Tensor, padding: Tensor) -> Tensor:
        states = states.masked_fill(padding, -torch.inf)
        strongest = states.amax(dim=1, keepdim=True)
        context.save_for_backward(states, strongest)
        return strongest.squeeze(1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        states, strongest = context.saved_tensors
        where = (states == strongest).to(gradient.dtype)
        each = gradient[:, None] / where.sum(dim=1, keepdim=True)  # (B, 1, 2H)
        return where.mul_(each), None


def draw(like: Tensor, random: torch.Generator) -> Tensor:
    """Uniform numbers from a generator of one's own: torch's is one that all threads share."""
    return torch.rand(like.shape, generator=random, device=like.device)


def drop(features: Tensor, share: float, random: torch.Generator | None) -> Tensor:
    """Dropout of that share of the features."""
    if random is None or not share:
        return features
    return features * draw(features, random).ge_(share) / (1 - share)
