"""Training: Adam and Muon under a one-cycle learning rate, judged on a slice after each epoch.

Whatever is drawn at random is drawn from the seed and the number of the step. A run that goes
on from a checkpoint therefore ends with the very weights of an unbroken one.

Each process (`workers`) takes its share of every batch and cuts it in parts, by reviews and by the
summands of the loss; threads, one a core, compute the gradients of a part at a time, which are then
added up over parts and processes.
"""

import math
import statistics
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.batches import shuffled
from model.checkpoints import Checkpoint, load_checkpoint, run_digest, save_checkpoint
from model.errors import StoppedError, TrainingError
from model.examples import Indices
from model.objectives import Judgement, Objective, words_read
from model.optimizers import learning_rate, optimizers_of
from model.settings import TrainingSettings
from model.threads import Map, thread_map
from model.workers import Workers

Say = Callable[[str], None]

# Into how many parts a batch is cut at least, of how many reviews at most: not by the number of
# cores, on which the weights must not depend. Twice as much does not stay in a core's cache.
_PARTS = 2
_PART = 16
_MIN_BATCH = 8
_MIN_STEPS = 200  # of an epoch, where there are few reviews: fewer taught too little in trials
_POINTS = 20  # of an epoch's curve
_INTERVAL_S = 60.0  # between two checkpoints, and two lines, of an epoch


@dataclass
class Progress:
    """What a checkpoint keeps besides tensors."""

    best_epoch: int = 0
    best_loss: float | None = None  # on the slice
    losses: list[float] = field(default_factory=list)  # of the steps of this epoch
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """One run of training, from the first step or from a checkpoint."""

    def __init__(
        self,
        objective: Objective,
        settings: TrainingSettings,
        checkpoints: Path | None = None,
        say: Say = print,
        stop_asked: Callable[[], bool] = lambda: False,
        workers: Workers = Workers(),  # noqa: B008  # immutable
    ) -> None:
        self.settings = settings
        self._objective = objective
        self._workers = workers
        self._checkpoints = checkpoints
        self._say = say
        self._stop_asked = stop_asked
        self._weights = dict(objective.weights)
        self._optimizers = optimizers_of(objective)
        self._best = self._copied_weights()
        self._step = 0
        self._saved_step = -1
        self._progress = Progress()
        self._phase = zlib.crc32(objective.name.encode())  # lest phases draw the same at random
        self._run = _run_digest(objective, settings, workers.count)
        few = max(_MIN_BATCH, len(objective.epoch) // _MIN_STEPS)
        self._batch_size = min(settings.batch_size, few)
        self._steps_per_epoch = -(-len(objective.epoch) // self._batch_size)

    def _copied_weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self._weights.items()}

    @property
    def history(self) -> list[dict[str, Any]]:
        return self._progress.history

    def train(self) -> None:
        """Leave the weights of the epoch that did best on the slice, or of the last one.

        Raises TrainingError when the loss is no number, StoppedError when asked to stop; a
        checkpoint is left in both cases but the first.
        """
        self._resume()
        self._agree()
        settings = self.settings
        model = self._objective.model
        # a part has rows of its own words alone; all vectors together are 20 MB
        model.embedding.sparse = True
        try:
            with thread_map() as each:
                while self._step < settings.epochs * self._steps_per_epoch and not self._stale():
                    model.reduced_precision = is_reduced(settings.precision)
                    self._run_epoch(self._step // self._steps_per_epoch, each)
                    self._save()
        finally:
            model.reduced_precision = model.embedding.sparse = False
            for weight in self._weights.values():
                weight.grad = None
        self._set_weights(self._best)

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
        objective, seed = self._objective, (self.settings.seed, self._phase, epoch)
        lengths = np.minimum(objective.reviews.lengths, words_read(objective.model))
        batches = shuffled(lengths, objective.epoch, self._batch_size, seed)
        started = told = time.perf_counter()
        words = 0
        done_before = self._step - epoch * self._steps_per_epoch
        for done, indices in enumerate(batches[done_before:], done_before + 1):
            if self._stop_wanted():
                self._save()
                raise StoppedError(f"asked to stop; checkpoint kept at step {self._step}")
            self._progress.losses.append(self._take_step(indices, each))
            words += int(lengths[indices].sum())
            # the last step's checkpoint is that of the epoch, once it has been judged
            if time.perf_counter() - told > _INTERVAL_S and done < len(batches):
                self._save()
                told = time.perf_counter()
                step_s = (told - started) / (done - done_before)
                self._tell(epoch, done, words / (told - started), step_s)
        self._close_epoch(epoch, words, time.perf_counter() - started)

    def _tell(self, epoch: int, done: int, speed: float, step_s: float) -> None:
        """How far an epoch has come that takes minutes."""
        loss = statistics.fmean(self._progress.losses[-_POINTS:])
        left = self.settings.epochs * self._steps_per_epoch - self._step
        self._say(
            f"{self._objective.name}, epoch {epoch + 1}/{self.settings.epochs},"
            f" step {done}/{self._steps_per_epoch}: loss {loss:.4f}, {speed:.0f} tokens/s,"
            f" {left * step_s:.0f} s left of {self._objective.name}"
        )

    def _stop_wanted(self) -> bool:
        """Whether any of the processes was asked to stop: all of them do, or none."""
        asked = torch.tensor([float(self._stop_asked())], device=self._workers.device)
        self._workers.sum([asked])
        return bool(asked)

    def _take_step(self, indices: Indices, each: Map) -> float:
        """One step down the gradient of the mean loss, which is returned."""
        settings, warm_up = self.settings, self._objective.warm_up
        loss = self._add_gradients(indices, each)
        norm = self._clip(settings.clip_norm)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise self._diverged(f"the loss is {loss}, its gradient {norm}", self._step)
        total_steps = settings.epochs * self._steps_per_epoch
        rate = learning_rate(self._step, total_steps, settings.learning_rate, warm_up)
        list(each(lambda optimizer: optimizer.step(rate), self._optimizers))
        self._step += 1
        return loss

    def _diverged(self, what: str, step: int) -> TrainingError:
        name = self._objective.name
        return TrainingError(f"{what} at step {step} of {name}; a lower learning rate may help")

    def _add_gradients(self, indices: Indices, each: Map) -> float:
        """Give each weight the gradient of the whole batch's mean loss, which is returned."""
        workers, summands = self._workers, self._objective.summands
        most = _PART if workers.device.type == "cpu" else len(indices)
        least = max(1, _PARTS // summands)
        shares = max(least, -(-len(indices) // (most * workers.count))) * workers.count
        mine = [
            (share * summands + summand, summand, indices[share::shares])
            for share in range(workers.rank, min(shares, len(indices)), workers.count)
            for summand in range(summands)
        ]
        weights = list(self._weights.values())
        loss = torch.zeros(1, dtype=torch.float64, device=workers.device)
        added: list[Tensor | None] = [None] * len(weights)
        for part_loss, gradients in each(self._gradients, mine):
            loss += part_loss
            added = [*map(_added, added, gradients)]
        # of every weight: all summands of a share are computed by one process
        sums = [gradient for gradient in added if gradient is not None]
        if workers.count > 1:
            sums = self._sum(sums)
        workers.sum([loss])
        size = self._objective.size(indices)
        for weight, gradient in zip(weights, sums, strict=True):
            gradient = _coalesced(gradient.div_(size))
            weight.grad = gradient if self._objective.lazy else _dense(gradient)
        return loss.item() / size

    def _sum(self, gradients: list[Tensor]) -> list[Tensor]:
        """Over all processes, of which one may have no part of the batch."""
        gradients = gradients or [self._nothing_for(weight) for weight in self._weights.values()]
        self._workers.sum([one for one in gradients if not one.is_sparse])
        return [self._workers.sum_rows(one) if one.is_sparse else one for one in gradients]

    def _nothing_for(self, weight: Tensor) -> Tensor:
        nothing = torch.zeros_like(weight)
        return nothing.to_sparse(1) if weight is self._objective.model.embedding.weight else nothing

    def _clip(self, most: float) -> float:
        """Scale the gradient down to that norm if it is longer; how long it was."""
        gradients = [weight.grad for weight in self._weights.values() if weight.grad is not None]
        parts = [one.values() if one.is_sparse else one for one in gradients]
        norm = math.hypot(*(float(torch.linalg.vector_norm(part)) for part in parts))
        if norm > most:
            for part in parts:
                part.mul_(most / norm)
        return norm

    def _gradients(self, part: tuple[int, int, Indices]) -> tuple[float, list[Tensor | None]]:
        """Summed loss of a part of a batch, and the gradients of what it uses; runs in a thread."""
        number, summand, indices = part
        seed = _mix(self.settings.seed, self._phase, self._step, number)
        random = torch.Generator(self._workers.device).manual_seed(seed)
        loss = self._objective.loss(indices, random, summand)
        weights = list(self._weights.values())
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        return loss.item(), [one if one is None else _coalesced(one) for one in gradients]

    def _judge(self) -> Judgement | None:
        """As the process that leads finds it."""
        self._objective.model.reduced_precision = False  # as it is deployed
        judgement = self._objective.judge()
        if judgement is None:
            return None
        found = torch.tensor(judgement, dtype=torch.float64, device=self._workers.device)
        self._workers.copy([found])
        return Judgement(*found.tolist())

    def _close_epoch(self, epoch: int, words: int, seconds: float) -> None:
        # the last step's weights have had no loss yet that would tell
        if not all(bool(weight.isfinite().all()) for weight in self._weights.values()):
            raise self._diverged("a weight is no number", self._step - 1)
        started = time.perf_counter()
        judgement = self._judge()
        if judgement is not None and not math.isfinite(judgement.loss):
            raise self._diverged(f"the loss on the slice is {judgement.loss}", self._step - 1)
        seconds_all = seconds + time.perf_counter() - started
        progress, epochs = self._progress, self.settings.epochs
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": round(statistics.fmean(progress.losses), 6),
            "curve": _curve(progress.losses),
            "tokens_per_second": round(words / seconds, 1),
            "seconds": round(seconds_all, 2),
        }
        accuracy = ""
        if judgement is not None:
            row["validation_accuracy"] = round(judgement.accuracy, 6)
            row["validation_loss"] = round(judgement.loss, 6)
            accuracy = f", validation accuracy {judgement.accuracy:.4f}"
        progress.losses = []
        progress.history.append(row)
        loss = judgement.loss if judgement else None
        if loss is None or progress.best_loss is None or loss < progress.best_loss:
            progress.best_epoch, progress.best_loss = epoch + 1, loss
            self._best = self._copied_weights()
        self._say(
            f"{self._objective.name}, epoch {epoch + 1}/{epochs}: loss {row['loss']:.4f}{accuracy},"
            f" {row['tokens_per_second']:.0f} tokens/s, {seconds_all:.1f} s,"
            f" {seconds_all * (epochs - epoch - 1):.0f} s left of {self._objective.name}"
        )

    def _save(self) -> None:
        if self._checkpoints is None or self._saved_step == self._step or not self._workers.leads:
            return
        tensors: dict[str, Tensor] = {f"best.{name}": value for name, value in self._best.items()}
        # of a finished phase the rest is of no use
        going_on = self._step < self.settings.epochs * self._steps_per_epoch
        weights = self._weights if going_on else {}
        tensors |= {f"model.{name}": weight for name, weight in weights.items()}
        for number, optimizer in enumerate(self._optimizers if going_on else ()):
            for index, state in optimizer.torchs.state_dict()["state"].items():
                for name, value in state.items():
                    tensors[f"optimizer.{number}.{index}.{name}"] = torch.as_tensor(value)
        arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
        checkpoint = Checkpoint(self._step, self._run, arrays, asdict(self._progress))
        save_checkpoint(self._checkpoints, checkpoint)
        self._saved_step = self._step

    def _agree(self) -> None:
        """Processes at different steps would wait for each other for ever."""
        leaders = torch.tensor([float(self._step)])
        self._workers.copy([leaders])
        if leaders.item() != self._step:
            raise TrainingError(
                f"process {self._workers.rank} stands at step {self._step}, the one that leads at"
                f" {leaders.item():.0f}: they do not see the same checkpoint"
            )

    def _resume(self) -> None:
        if self._checkpoints is None:
            return
        checkpoint, found = load_checkpoint(self._checkpoints, self._run)
        self._say(found)
        if checkpoint is None:
            return
        states: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
        moments: list[dict[int, dict[str, Any]]] = [{} for _ in self._optimizers]
        for key, array in checkpoint.tensors.items():
            kind, name = key.split(".", 1)
            value = torch.from_numpy(array.copy())
            if kind == "optimizer":
                number, index, name = name.split(".", 2)
                # Adam counts its steps in a tensor, SparseAdam in a whole number
                whole = value.dtype == torch.int64
                state = moments[int(number)].setdefault(int(index), {})
                state[name] = value.item() if whole else value
            else:
                states[kind][name] = value
        self._best = states["best"]
        self._set_weights(states["model"] or self._best)
        for optimizer, moment in zip(self._optimizers, moments, strict=True):
            groups = optimizer.torchs.state_dict()["param_groups"]
            if moment:
                optimizer.torchs.load_state_dict({"state": moment, "param_groups": groups})
        self._step = checkpoint.step
        self._progress = Progress(**checkpoint.progress)


def _curve(losses: list[float]) -> list[float]:
    """Mean losses of stretches of an epoch, each of about as many steps."""
    stretches = np.array_split(losses, min(_POINTS, len(losses)))
    return [round(float(stretch.mean()), 6) for stretch in stretches]


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one.add_(other)


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _coalesced(gradient: Tensor) -> Tensor:
    return gradient.coalesce() if gradient.is_sparse else gradient


def is_reduced(precision: str) -> bool:
    """Whether training is to multiply in bfloat16."""
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        # not where it is only imitated, as on a T4 or V100
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Intel's processors know such numbers before they are faster with them, which AMX makes them
    able = torch.cpu.get_capabilities()
    amd = able.get("sse4a")  # which Intel's never had
    return bool(able.get("amx_bf16") or (able.get("avx512_bf16") and amd))


def _mix(*numbers: int) -> int:
    """One seed out of several, so that neighbouring steps have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _run_digest(objective: Objective, settings: TrainingSettings, processes: int) -> str:
    """What a checkpoint must agree in: settings, the weights that it started from, and data.

    What is drawn at random depends on the number of processes, and "auto" on the processor.
    """
    said = (
        objective.name,
        asdict(objective.model.config),
        asdict(settings),
        processes,
        is_reduced(settings.precision),
    )
    return run_digest(said, objective.weights.values(), objective.arrays())
