"""Training the LSTM: Adam under a one-cycle learning rate, judged on a slice after each epoch.

Whatever is drawn at random is drawn from the seed and the number of the step. A run that goes
on from a checkpoint therefore ends with the very weights of an unbroken one.

Each process (`workers`) takes its share of every batch and cuts it in halves; the gradients of
each half are computed in a thread of its own, then added up over threads and processes.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.batches import batch_of, shuffled
from model.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from model.errors import StoppedError, TrainingError
from model.examples import Examples, Indices
from model.judging import judge_lstm
from model.lstm import SentimentLSTM
from model.settings import TrainingSettings
from model.threads import Map, thread_map
from model.workers import Workers

Say = Callable[[str], None]

_HALVES = 2  # fixed, not the number of cores: the weights must not depend on the machine's
_MIN_BATCH = 8
_MIN_STEPS = 200  # an epoch, where there are few reviews
_WARM_UP = 0.3  # share of the steps in which the rate rises
_START, _END = 1 / 25, 1 / 10_000  # of the peak rate


@dataclass
class Progress:
    """What a checkpoint keeps besides tensors."""

    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = 1e9  # on the slice
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def learning_rate(step: int, total_steps: int, peak: float) -> float:
    """One cycle: up along a cosine, then down to next to nothing (Smith, arXiv 1708.07120)."""
    rise = max(1.0, _WARM_UP * total_steps)
    if step < rise:
        low, high, part = _START, 1.0, step / rise
    else:
        low, high, part = 1.0, _END, (step - rise) / max(1.0, total_steps - rise)
    return peak * (low + (high - low) * (1 - math.cos(math.pi * part)) / 2)


class Trainer:
    """One run of training the LSTM, from the first step or from a checkpoint."""

    def __init__(
        self,
        model: SentimentLSTM,
        settings: TrainingSettings,
        examples: Examples,
        checkpoints: Path | None = None,
        say: Say = print,
        stop_asked: Callable[[], bool] = lambda: False,
        workers: Workers = Workers(),  # noqa: B008  # immutable
    ) -> None:
        self.model = model.to(workers.device)
        self.settings = settings
        self._workers = workers
        self._examples = examples
        self._checkpoints = checkpoints
        self._say: Say = say if workers.leads else lambda line: None
        self._stop_asked = stop_asked
        self._weights = {
            name: weight
            for name, weight in model.named_parameters()
            if not name.startswith("ngrams.")
        }
        self._optimizer = torch.optim.Adam(self._weights.values(), fused=True)
        self._best = self._copied_weights()
        self._step = 0
        self._saved_step = -1
        self._progress = Progress()
        self._run = _run_digest(model, settings, examples)
        few = max(_MIN_BATCH, len(examples.training) // _MIN_STEPS)
        self._batch_size = min(settings.batch_size, few)
        self._steps_per_epoch = -(-len(examples.training) // self._batch_size)

    def _copied_weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self._weights.items()}

    @property
    def history(self) -> list[dict[str, float]]:
        return self._progress.history

    def history_json(self) -> dict[str, Any]:
        """The form of training_history.json."""
        return {"format": 1, "settings": asdict(self.settings), "epochs": self.history}

    def train(self) -> SentimentLSTM:
        """The model with the weights of the epoch that did best on the validation slice.

        Raises TrainingError when the loss is no number, StoppedError when asked to stop; a
        checkpoint is left in both cases but the first.
        """
        self._resume()
        settings = self.settings
        self.model.reduced_precision = _is_reduced(settings.precision)
        with thread_map(_HALVES) as each:
            while self._step < settings.epochs * self._steps_per_epoch and not self._stale():
                self._run_epoch(self._step // self._steps_per_epoch, each)
                self._save()
        self.model.reduced_precision = False
        self._set_weights(self._best)
        return self.model

    @torch.no_grad()
    def _set_weights(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])

    def _stale(self) -> bool:
        """Whether the last epochs brought nothing better."""
        patience = self.settings.patience
        stale = len(self.history) - self._progress.best_epoch >= patience
        if stale and self.history:
            self._say(f"no better epoch in the last {patience}; stopping early")
        return stale and bool(self.history)

    def _run_epoch(self, epoch: int, each: Map) -> None:
        settings = self.settings
        examples, seed = self._examples, (settings.seed, 1, epoch)
        lengths = np.minimum(examples.reviews.lengths, self.model.config.max_review_length)
        batches = shuffled(lengths, examples.training, self._batch_size, seed)
        started, words = time.perf_counter(), 0
        for indices in batches[self._step - epoch * self._steps_per_epoch :]:
            if self._stop_wanted():
                self._save()
                raise StoppedError(f"asked to stop; checkpoint kept at step {self._step}")
            self._progress.loss_sum += self._take_step(indices, each)
            words += int(lengths[indices].sum())
        self._close_epoch(epoch, words, time.perf_counter() - started)

    def _stop_wanted(self) -> bool:
        """Whether any of the processes was asked to stop: all of them do, or none."""
        asked = torch.tensor([float(self._stop_asked())], device=self._workers.device)
        self._workers.sum([asked])
        return bool(asked)

    def _take_step(self, indices: Indices, each: Map) -> float:
        """One step down the gradient of the mean loss, which is returned."""
        settings = self.settings
        loss = self._add_gradients(indices, each)
        norm = nn.utils.clip_grad_norm_(self._weights.values(), settings.clip_norm)
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

    def _add_gradients(self, indices: Indices, each: Map) -> float:
        """Give each weight the gradient of the whole batch's mean loss, which is returned."""
        workers = self._workers
        count = _HALVES * workers.count
        parts = [(number, indices[number::count]) for number in range(count)]
        mine = [part for part in parts[workers.rank :: workers.count] if len(part[1])]
        weights = list(self._weights.values())
        loss = torch.zeros(1, dtype=torch.float64, device=workers.device)
        sums: list[Tensor] = []
        for part_loss, gradients in each(self._gradients, mine):
            loss += part_loss
            if sums:
                torch._foreach_add_(sums, gradients)
            else:
                sums = list(gradients)
        sums = sums or [torch.zeros_like(weight) for weight in weights]
        workers.sum(sums)
        workers.sum([loss])
        torch._foreach_div_(sums, len(indices))
        for weight, gradient in zip(weights, sums, strict=True):
            weight.grad = gradient
        return loss.item() / len(indices)

    def _gradients(self, part: tuple[int, Indices]) -> tuple[float, tuple[Tensor, ...]]:
        """Summed loss of one part of a batch, and its gradients; runs in a thread."""
        number, indices = part
        device = self._workers.device
        seed = _mix(self.settings.seed, self._step, number)
        random = torch.Generator(device).manual_seed(seed)
        batch = batch_of(self._examples.reviews, indices, self.model.config.max_review_length)
        targets = torch.from_numpy(self._examples.targets[indices]).to(device)  # (B)
        logits = self.model.read(batch.tokens.to(device), batch.lengths.to(device), random)  # (B)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return loss.item(), torch.autograd.grad(loss, list(self._weights.values()))

    def _judge(self) -> tuple[float, float]:
        """Accuracy and log loss on the validation slice, as the process that leads finds them."""
        examples = self._examples
        logits = judge_lstm(self.model, examples.reviews, examples.validation)
        wanted = examples.targets[examples.validation] >= 0.5
        right = ((logits >= 0) == wanted).mean()
        loss = np.logaddexp(0, np.where(wanted, -logits, logits)).mean()
        found = torch.tensor([right, loss], dtype=torch.float64, device=self._workers.device)
        self._workers.copy([found])
        return found[0].item(), found[1].item()

    def _close_epoch(self, epoch: int, words: int, seconds: float) -> None:
        started = time.perf_counter()
        accuracy, loss = self._judge()
        seconds_all = seconds + time.perf_counter() - started
        progress, settings = self._progress, self.settings
        row = {
            "epoch": epoch + 1,
            "loss": round(progress.loss_sum / self._steps_per_epoch, 6),
            "validation_accuracy": round(accuracy, 6),
            "validation_loss": round(loss, 6),
            "tokens_per_second": round(words / seconds, 1),
            "seconds": round(seconds_all, 2),
        }
        progress.loss_sum = 0.0
        progress.history.append(row)
        if (accuracy, -loss) > (progress.best_accuracy, -progress.best_loss):
            progress.best_epoch = epoch + 1
            progress.best_accuracy, progress.best_loss = accuracy, loss
            self._best = self._copied_weights()
        left = seconds_all * (settings.epochs - epoch - 1)
        self._say(
            f"epoch {epoch + 1}/{settings.epochs}: loss {row['loss']:.4f}, validation accuracy"
            f" {accuracy:.4f}, {row['tokens_per_second']:.0f} tokens/s, {seconds_all:.1f} s,"
            f" {left:.0f} s left"
        )

    def _save(self) -> None:
        if self._checkpoints is None or self._saved_step == self._step or not self._workers.leads:
            return
        tensors: dict[str, Tensor] = {f"model.{name}": w for name, w in self._weights.items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
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
        self._set_weights(states["model"])
        self._best = states["best"]
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._step = checkpoint.step
        self._progress = Progress(**checkpoint.progress)


def _is_reduced(precision: str) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    return torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()


def _mix(*numbers: int) -> int:
    """One seed out of several, so that neighbouring steps have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _run_digest(model: SentimentLSTM, settings: TrainingSettings, examples: Examples) -> str:
    """What a checkpoint must agree in: settings, shapes and data."""
    digest = hashlib.sha256(json.dumps([asdict(model.config), asdict(settings)]).encode())
    reviews = examples.reviews
    for array in (reviews.tokens, reviews.offsets, examples.targets, examples.training):
        digest.update(array.tobytes())
    return digest.hexdigest()
