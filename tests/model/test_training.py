from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model.errors import DataError, StoppedError, TrainingError
from model.examples import Examples, split_validation
from model.judging import judge
from model.lstm import LSTMConfig, SentimentLSTM
from model.objectives import Verdicts
from model.optimizers import learning_rate
from model.settings import TrainingSettings
from model.shards import Reviews
from model.training import Trainer, is_reduced
from model.workers import Workers
from tests.model.factory import encoded, vocabulary

CONFIG = LSTMConfig(
    len(vocabulary()), embedding_dim=6, hidden_dim=5, max_review_length=9, dropout=0.1
)
SETTINGS = TrainingSettings(epochs=2, batch_size=8, validation_fraction=0.2)


class Run(Trainer):
    """A trainer that remembers its model."""

    def __init__(self, checkpoints: Path | None = None, **options: Any) -> None:
        settings = replace(SETTINGS, **options.pop("settings", {}))
        options.setdefault("say", lambda line: None)
        torch.manual_seed(settings.seed)
        self.model = SentimentLSTM(CONFIG)
        objective = Verdicts(self.model, examples(settings))
        super().__init__(objective, settings, checkpoints, **options)


def trained(checkpoints: Path | None = None, **options: Any) -> SentimentLSTM:
    run = Run(checkpoints, **options)
    run.train()
    return run.model


def examples(settings: TrainingSettings) -> Examples:
    reviews = encoded()
    training, validation = split_validation(
        reviews.labels, settings.validation_fraction, settings.seed
    )
    return Examples(reviews, reviews.labels.astype(np.float32), training, validation)


def same_weights(one: SentimentLSTM, other: SentimentLSTM) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return all(torch.equal(weights[name], others[name]) for name in weights)


class Two(Workers):
    """Two processes, of which the other has nothing to add."""

    def __init__(self) -> None:
        super().__init__(count=2)

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        pass

    def sum_rows(self, sparse: torch.Tensor) -> torch.Tensor:
        return sparse

    def copy(self, tensors: Sequence[torch.Tensor]) -> None:
        pass


class StopAfter:
    """Asks to stop once that many steps were taken."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_it_learns_what_can_be_learned() -> None:
    model = trained(settings={"epochs": 12, "learning_rate": 0.03, "patience": 12})
    unseen = encoded(40, seed=2)
    accuracy = ((judge(model, unseen, np.arange(40)) >= 0.5) == (unseen.labels == 1)).mean()
    assert accuracy > 0.9


def test_the_same_seed_gives_the_same_weights() -> None:
    one = trained()
    assert same_weights(one, trained())
    assert not same_weights(one, trained(settings={"seed": 2}))


def test_more_cores_give_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training._PART", 2)  # more parts than there are cores here
    models = []
    for cores in (1, 4):
        monkeypatch.setattr("model.threads.os.cpu_count", lambda cores=cores: cores)
        models.append(trained())
    assert same_weights(*models)


@pytest.mark.parametrize("step", [1, 6, 7, 11])
def test_a_run_that_goes_on_ends_with_the_weights_of_an_unbroken_one(
    tmp_path: Path, step: int
) -> None:
    with pytest.raises(StoppedError, match=f"checkpoint kept at step {step}"):
        trained(tmp_path, stop_asked=StopAfter(step))
    lines: list[str] = []
    resumed, unbroken = Run(tmp_path, say=lines.append), Run()
    resumed.train()
    unbroken.train()
    assert same_weights(resumed.model, unbroken.model)
    assert f"going on from the checkpoint at step {step}" in lines
    figures = ("epoch", "loss", "validation_accuracy")
    assert [[row[name] for name in figures] for row in resumed.history] == [
        [row[name] for name in figures] for row in unbroken.history
    ]


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    done = trained(tmp_path)
    again = trained(tmp_path, stop_asked=lambda: pytest.fail("took a step"))
    assert same_weights(again, done)


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path: Path) -> None:
    trained(tmp_path)
    lines: list[str] = []
    other = trained(tmp_path, settings={"seed": 2}, say=lines.append)
    assert "of other settings or data" in lines[0]
    assert same_weights(other, trained(settings={"seed": 2}))


def test_processes_that_see_different_checkpoints_do_not_wait_for_each_other() -> None:
    class Behind(Workers):
        """The process that leads stands at step 5."""

        def copy(self, tensors: Sequence[torch.Tensor]) -> None:
            for tensor in tensors:
                tensor.fill_(5)

    with pytest.raises(TrainingError, match="process 0 stands at step 0, the one that leads at 5"):
        trained(workers=Behind())


def test_a_checkpoint_of_more_processes_is_not_used(tmp_path: Path) -> None:
    """They drew other words to drop."""
    trained(tmp_path)
    lines: list[str] = []
    trained(tmp_path, workers=Two(), say=lines.append)
    assert "is of other settings or data" in lines[0]


def test_one_line_an_epoch() -> None:
    lines: list[str] = []
    trained(say=lines.append)
    expected = ["training, epoch 1/2", "training, epoch 2/2"]
    assert [line.split(":")[0] for line in lines] == expected
    for part in ("loss", "validation accuracy", "tokens/s", "s left of training"):
        assert part in lines[0]


def test_a_long_epoch_tells_how_far_it_is_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.training._INTERVAL_S", 0.0)
    lines: list[str] = []

    def fall_at_step_3(line: str) -> None:
        lines.append(line)
        if "step 3/" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, say=fall_at_step_3)
    assert "training, epoch 1/2, step 2/" in lines[-2]
    assert lines[-2].endswith("s left of training")
    assert same_weights(trained(tmp_path, say=lines.append), trained())
    assert "going on from the checkpoint at step 3" in lines
    again = Run(tmp_path)
    again.train()
    assert same_weights(again.model, trained())
    assert len(again.history) == 2


def test_training_ends_when_nothing_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "model.objectives.judge_lstm", lambda model, reviews, indices: np.zeros(len(indices))
    )
    lines: list[str] = []
    run = Run(settings={"epochs": 9, "patience": 2}, say=lines.append)
    run.train()
    assert len(run.history) == 3
    assert "stopping early" in lines[-1]


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    right = encoded().labels - 0.5
    answers = iter([right, -right, -right])
    weights: list[dict[str, torch.Tensor]] = []
    run = Run(settings={"epochs": 3})

    def judged(model: SentimentLSTM, reviews: Reviews, indices: Any) -> Any:
        assert np.array_equal(indices, examples(run.settings).validation)
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(answers)[indices]

    monkeypatch.setattr("model.objectives.judge_lstm", judged)
    run.train()
    assert torch.equal(run.model.state_dict()["output.weight"], weights[0]["output.weight"])


def test_a_loss_that_is_no_number_stops_with_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    read = SentimentLSTM.read
    calls = iter(range(100))

    def broken(self: SentimentLSTM, *inputs: Any) -> torch.Tensor:
        return read(self, *inputs) * (float("nan") if next(calls) >= 6 else 1.0)

    monkeypatch.setattr(SentimentLSTM, "read", broken)
    with pytest.raises(TrainingError, match=r"the loss is nan, .* at step 3 of training; a lower"):
        run.train()


def test_a_weight_that_is_no_number_stops_before_the_epoch_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(settings={"epochs": 1})

    def overflow(optimizer: Any, rate: float) -> None:
        if run._step == run._steps_per_epoch - 1:
            run.model.output.weight.data.fill_(float("inf"))

    monkeypatch.setattr("model.optimizers.Optimizer.step", overflow)
    with pytest.raises(
        TrainingError, match=r"a weight is no number at step \d+ of training; a lower"
    ):
        run.train()


@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_is_that_of_the_whole_batch(sparse: bool) -> None:
    run = Run()
    run.model.embedding.sparse = sparse
    run.model.config = replace(CONFIG, dropout=0.0, word_dropout=0.0)
    indices = np.arange(8)
    halves = [run._gradients((half, 0, indices[half::2])) for half in (0, 1)]
    _, whole = run._gradients((0, 0, indices))
    for one, other, both in zip(halves[0][1], halves[1][1], whole, strict=True):
        torch.testing.assert_close((one + other).to_dense(), both.to_dense())


def test_into_how_many_parts_a_batch_is_cut_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run()
    run.model.config = replace(CONFIG, dropout=0.0, word_dropout=0.0)
    gradients = []
    for part, sparse in ((100, False), (100, True), (2, True)):
        monkeypatch.setattr("model.training._PART", part)
        run.model.embedding.sparse = sparse
        run._add_gradients(np.arange(7), map)
        gradients.append([weight.grad for weight in run._weights.values()])
    for dense, one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, dense)
        torch.testing.assert_close(other, dense)


@pytest.mark.parametrize(
    ("able", "reduced"),
    [
        ({"avx512_bf16": True, "sse4a": True, "amx_bf16": False}, True),  # AMD
        ({"avx512_bf16": True, "sse4a": False, "amx_bf16": False}, False),  # no faster there
        ({"avx512_bf16": True, "sse4a": False, "amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_bfloat16_is_for_processors_that_are_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], reduced: bool
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: able)
    assert is_reduced("auto") == reduced
    assert is_reduced("bfloat16") and not is_reduced("float32")


@pytest.mark.parametrize("capability", [(7, 5), (8, 0)], ids=["T4", "A100"])
def test_bfloat16_is_for_gpus_that_have_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    properties = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: properties)
    assert is_reduced("auto") == (capability >= (8, 0))


def test_the_validation_slice_is_apart_and_balanced() -> None:
    labels = np.array([1] * 30 + [0] * 10 + [-1] * 5)
    training, validation = split_validation(labels, 0.2, seed=1)
    assert set(training) | set(validation) == set(range(40))
    assert not set(training) & set(validation)
    assert labels[validation].sum() == 6
    assert split_validation(labels, 0.2, seed=1)[1].tolist() == validation.tolist()


def test_neighbours_are_held_out_together() -> None:
    _, validation = split_validation(np.arange(4000) % 2, 0.1, seed=1)
    assert len(validation) == 400
    assert (np.diff(validation[validation % 2 == 1]) == 2).mean() > 0.98


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [1, 1, 0], []])
def test_a_split_needs_two_of_each_class(labels: list[int]) -> None:
    with pytest.raises(DataError, match="at least 2 are needed"):
        split_validation(np.array(labels), 0.1, seed=1)


def test_the_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.3) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == pytest.approx(1.0)
    assert int(np.argmax(rates)) == 30
    assert rates[-1] == pytest.approx(1 / 10_000)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"pretraining_epochs": -1},
        {"guessing_epochs": -1},
        {"batch_size": 0},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"clip_norm": -1.0},
        {"validation_fraction": 0.0},
        {"validation_fraction": 0.95},
        {"seed": -1},
    ],
)
def test_impossible_settings_are_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(change))} is"):
        replace(SETTINGS, **change)


def test_a_review_without_words_is_undecided() -> None:
    reviews = Reviews(np.array([3, 4], np.int32), np.array([0, 0, 2]), np.zeros(2, np.int8))
    probabilities = judge(Run().model, reviews, np.arange(2))
    assert probabilities[0] == 0.5
    assert probabilities[1] != 0.5
