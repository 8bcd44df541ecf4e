"""Training: Adam under a one-cycle learning rate, judged on a slice of train after each epoch.

Whatever is drawn at random is drawn from the seed and the number of the step. A run that goes
on from a checkpoint therefore ends with the very weights of an unbroken one.

A batch is cut in halves, and the gradients of each are computed in a thread of its own.
"""

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batches import batch_of, in_length_order, shuffled
from model.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from model.errors import DataError, StoppedError, TrainingError
from model.lstm import LSTMConfig, SentimentLSTM
from model.shards import Reviews
from model.tensors import Array
from model.threads import Map, thread_map

Indices = NDArray[np.int64]
Say = Callable[[str], None]

_HALVES = 2  # fixed, not the number of cores: the weights must not depend on the machine's
_JUDGE_BATCH = 64
_MIN_BATCH = 8
_MIN_STEPS = 200  # an epoch, where there are few reviews
_WARM_UP = 0.3  # share of the steps in which the rate rises
_START, _END = 1 / 25, 1 / 10_000  # of the peak rate


@dataclass(frozen=True)
class TrainingSettings:
    """`patience` is the number of epochs without a better one after which training ends.

    Of few reviews a batch holds fewer than `batch_size`, so that an epoch still has some steps.
    """

    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 3e-3
    clip_norm: float = 1.0
    validation_fraction: float = 0.1
    patience: int = 2
    seed: int = 1

    def __post_init__(self) -> None:
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
        if not 0 <= self.seed < 2**31:
            raise DataError(f"seed is {self.seed}; it must be at least 0 and below 2^31")


@dataclass
class Progress:
    """What a checkpoint keeps besides tensors."""

    best_epoch: int = 0
    best_accuracy: float = -1.0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def split_validation(labels: Array, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Indices to train on and to judge on; the same share of each class is held out."""
    random = np.random.default_rng((seed, 0))
    held_out: list[Array] = []
    for label in (0, 1):
        of_class = np.flatnonzero(labels == label)
        if len(of_class) < 2:
            raise DataError(
                f"train shards hold {len(of_class)} reviews of class {label}; at least 2 are needed"
            )
        count = min(max(1, round(fraction * len(of_class))), len(of_class) - 1)
        held_out.append(random.permutation(of_class)[:count])
    validation = np.sort(np.concatenate(held_out))
    training = np.setdiff1d(np.flatnonzero(labels >= 0), validation)
    return training, validation


def learning_rate(step: int, total_steps: int, peak: float) -> float:
    """One cycle: up along a cosine, then down to next to nothing (Smith, arXiv 1708.07120)."""
    rise = max(1.0, _WARM_UP * total_steps)
    if step < rise:
        low, high, part = _START, 1.0, step / rise
    else:
        low, high, part = 1.0, _END, (step - rise) / max(1.0, total_steps - rise)
    return peak * (low + (high - low) * (1 - math.cos(math.pi * part)) / 2)


def judge(model: SentimentLSTM, reviews: Reviews, indices: Indices) -> NDArray[np.float64]:
    """Probability of being positive for each of `indices`, in their order."""
    logits = np.zeros(len(reviews), dtype=np.float64)
    max_length = model.config.max_review_length

    @torch.inference_mode()
    def judge_batch(chosen: Indices) -> None:
        batch = batch_of(reviews, chosen, max_length)
        logits[chosen] = model(batch.tokens, batch.lengths).double().numpy()

    batches = in_length_order(reviews.lengths, indices, _JUDGE_BATCH)
    with thread_map() as each:
        list(each(judge_batch, batches))
    logits[reviews.lengths == 0] = 0.0  # nothing to judge
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits[indices], -60, 60)))
    return probabilities


class Trainer:
    """One run of training, from the first step or from a checkpoint."""

    def __init__(
        self,
        config: LSTMConfig,
        settings: TrainingSettings,
        reviews: Reviews,
        checkpoints: Path | None = None,
        say: Say = print,
        stop_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self._reviews = reviews
        self._checkpoints = checkpoints
        self._say = say
        self._stop_asked = stop_asked
        self._train, self._validation = split_validation(
            reviews.labels, settings.validation_fraction, settings.seed
        )
        torch.manual_seed(settings.seed)
        self.model = SentimentLSTM(config)
        self._optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        self._best = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._step = 0
        self._saved_step = -1
        self._progress = Progress()
        self._run = _run_digest(config, settings, reviews)
        few = max(_MIN_BATCH, len(self._train) // _MIN_STEPS)
        self._batch_size = min(settings.batch_size, few)
        self._steps_per_epoch = -(-len(self._train) // self._batch_size)

    @property
    def history(self) -> list[dict[str, float]]:
        return self._progress.history

    def train(self) -> SentimentLSTM:
        """The model with the weights of the epoch that did best on the validation slice.

        Raises TrainingError when the loss is no number, StoppedError when asked to stop; a
        checkpoint is left in both cases but the first.
        """
        self._resume()
        settings = self.settings
        with thread_map(_HALVES) as each:
            while self._step < settings.epochs * self._steps_per_epoch and not self._stale():
                self._run_epoch(self._step // self._steps_per_epoch, each)
                self._save()
        self.model.load_state_dict(self._best)
        return self.model

    def _stale(self) -> bool:
        """Whether the last epochs brought nothing better."""
        patience = self.settings.patience
        stale = len(self.history) - self._progress.best_epoch >= patience
        if stale and self.history:
            self._say(f"no better epoch in the last {patience}; stopping early")
        return stale and bool(self.history)

    def _run_epoch(self, epoch: int, each: Map) -> None:
        settings = self.settings
        lengths = np.minimum(self._reviews.lengths, self.model.config.max_review_length)
        batches = shuffled(lengths, self._train, self._batch_size, (settings.seed, 1, epoch))
        started, words = time.perf_counter(), 0
        for indices in batches[self._step - epoch * self._steps_per_epoch :]:
            if self._stop_asked():
                self._save()
                raise StoppedError(f"asked to stop; checkpoint kept at step {self._step}")
            self._progress.loss_sum += self._take_step(indices, each)
            words += int(lengths[indices].sum())
        self._close_epoch(epoch, words, time.perf_counter() - started)

    def _take_step(self, indices: Indices, each: Map) -> float:
        """One step down the gradient of the mean loss, which is returned."""
        settings = self.settings
        halves = [indices[start::_HALVES] for start in range(min(_HALVES, len(indices)))]
        results = list(each(self._gradients, enumerate(halves)))
        loss = float(sum(half_loss for half_loss, _ in results)) / len(indices)
        gradients = zip(*(half_gradients for _, half_gradients in results), strict=True)
        for parameter, parts in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = functools.reduce(torch.add, parts) / len(indices)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainingError(
                f"the loss is {loss}, its gradient {float(norm)} at step {self._step};"
                " a lower learning rate may help"
            )
        total_steps = settings.epochs * self._steps_per_epoch
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._step, total_steps, settings.learning_rate)
        self._optimizer.step()
        self._step += 1
        return loss

    def _gradients(self, part: tuple[int, Indices]) -> tuple[float, tuple[Tensor, ...]]:
        """Summed loss of one half of a batch, and its gradients; runs in a thread."""
        half, indices = part
        random = torch.Generator().manual_seed(_mix(self.settings.seed, self._step, half))
        batch = batch_of(self._reviews, indices, self.model.config.max_review_length)
        logits = self.model(batch.tokens, batch.lengths, random)  # (B)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels, reduction="sum")
        return loss.item(), torch.autograd.grad(loss, list(self.model.parameters()))

    def _close_epoch(self, epoch: int, words: int, seconds: float) -> None:
        started = time.perf_counter()
        probabilities = judge(self.model, self._reviews, self._validation)
        wanted = self._reviews.labels[self._validation] == 1
        accuracy = float(((probabilities >= 0.5) == wanted).mean())
        seconds_all = seconds + time.perf_counter() - started
        progress, settings = self._progress, self.settings
        row = {
            "epoch": epoch + 1,
            "loss": round(progress.loss_sum / self._steps_per_epoch, 6),
            "validation_accuracy": round(accuracy, 6),
            "tokens_per_second": round(words / seconds, 1),
            "seconds": round(seconds_all, 2),
        }
        progress.loss_sum = 0.0
        progress.history.append(row)
        if accuracy > progress.best_accuracy:
            progress.best_epoch, progress.best_accuracy = epoch + 1, accuracy
            self._best = {name: value.clone() for name, value in self.model.state_dict().items()}
        left = seconds_all * (settings.epochs - epoch - 1)
        self._say(
            f"epoch {epoch + 1}/{settings.epochs}: loss {row['loss']:.4f}, validation accuracy"
            f" {accuracy:.4f}, {row['tokens_per_second']:.0f} tokens/s, {seconds_all:.1f} s,"
            f" {left:.0f} s left"
        )

    def _save(self) -> None:
        if self._checkpoints is None or self._saved_step == self._step:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        arrays = {name: value.detach().numpy() for name, value in tensors.items()}
        checkpoint = Checkpoint(self._step, self._run, arrays, asdict(self._progress))
        save_checkpoint(self._checkpoints, checkpoint)
        self._saved_step = self._step

    def _resume(self) -> None:
        if self._checkpoints is None:
            return
        checkpoint, found = load_checkpoint(self._checkpoints, self._run)
        self._say(found)
        if checkpoint is None:
            return
        states: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
        moments: dict[int, dict[str, Tensor]] = {}
        for key, array in checkpoint.tensors.items():
            kind, name = key.split(".", 1)
            value = torch.from_numpy(array.copy())
            if kind == "optimizer":
                index, name = name.split(".", 1)
                moments.setdefault(int(index), {})[name] = value
            else:
                states[kind][name] = value
        self.model.load_state_dict(states["model"])
        self._best = states["best"]
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._step = checkpoint.step
        self._progress = Progress(**checkpoint.progress)


def _mix(*numbers: int) -> int:
    """One seed out of several, so that neighbouring steps have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _run_digest(config: LSTMConfig, settings: TrainingSettings, reviews: Reviews) -> str:
    """What a checkpoint must agree in: settings, shapes and data."""
    digest = hashlib.sha256(json.dumps([asdict(config), asdict(settings)]).encode())
    for array in (reviews.tokens, reviews.offsets, reviews.labels):
        digest.update(array.tobytes())
    return digest.hexdigest()


def history_json(trainer: Trainer) -> dict[str, Any]:
    """training_history.json."""
    return {"format": 1, "settings": asdict(trainer.settings), "epochs": trainer.history}
