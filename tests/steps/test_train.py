import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.artifact import load_artifact
from model.shards import shard_name, write_shard
from steps import train
from tests.model.factory import encoded, vocabulary

SMALL = [
    "--epochs",
    "2",
    "--pretraining-epochs",
    "1",
    "--embedding-dim",
    "4",
    "--hidden-dim",
    "3",
    "--batch-size",
    "8",
]

Run = Callable[..., int]


@pytest.fixture
def job(tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The job in its folders; the signal handler that it sets is taken back."""
    monkeypatch.setattr(train, "__file__", str(code / "train.py"))
    words = vocabulary()
    (tmp_path / "vocabulary").mkdir()
    words.save(tmp_path / "vocabulary" / "vocabulary.json")
    (tmp_path / "train").mkdir()
    write_shard(tmp_path / "train" / shard_name("train", 0, 1), encoded(), words.sha256)
    environ = {
        "SM_CHANNEL_TRAIN": str(tmp_path / "train"),
        "SM_CHANNEL_VOCABULARY": str(tmp_path / "vocabulary"),
        "SM_MODEL_DIR": str(tmp_path / "model"),
        "SM_OUTPUT_DATA_DIR": str(tmp_path / "output" / "data"),
        "TRAINING_JOB_NAME": "job-1",
    }

    def run(*more: str) -> int:
        checkpoints = ["--checkpoint-dir", str(tmp_path / "checkpoints")]
        return train.main([*SMALL, *checkpoints, *more], environ)

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def test_a_model_directory_and_a_history_are_written(
    job: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job("--dropout", "0.25", "--max-review-length", "7", "--seed", "3") == 0
    artifact = load_artifact(tmp_path / "model")
    assert artifact.vocabulary == vocabulary()
    config = artifact.model.config
    assert (config.embedding_dim, config.hidden_dim, config.dropout) == (4, 3, 0.25)
    assert config.max_review_length == 7
    assert artifact.document["training"]["settings"]["seed"] == 3
    assert artifact.document["source"]["training_job"] == "job-1"
    history = json.loads((tmp_path / "output/data/training_history.json").read_text())
    assert [row["epoch"] for row in history["epochs"]] == [1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("training, epoch ") for line in lines) == 2


def test_a_second_run_goes_on_from_the_first_ones_checkpoint(
    job: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job() == 0
    first = (tmp_path / "model/model.safetensors").read_bytes()
    for path in sorted((tmp_path / "model").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert job() == 0
    assert "going on from the checkpoint at step" in capsys.readouterr().out
    assert (tmp_path / "model/model.safetensors").read_bytes() == first


def test_sigterm_leaves_a_checkpoint_and_no_model(
    job: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(line: str, **options: object) -> None:
        if line.startswith("training, epoch 1"):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(train, "print", say, raising=False)
    assert job() == 143
    monkeypatch.undo()
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "output/failure").exists()
    assert "checkpoint kept at step" in capsys.readouterr().err
    assert len(list((tmp_path / "checkpoints/verdicts").glob("step-*"))) == 1


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--epochs", "0"), "epochs is 0; it must be at least 1"),
        (("--pretraining-epochs", "-1"), "pretraining_epochs is -1; it must be at least 0"),
        (("--dropout", "1.5"), "dropout is 1.5; it must be at least 0 and below 1"),
        (("--validation-fraction", "2"), "validation_fraction is 2.0; it must be above 0"),
        (("--learning-rate", "3e38"), "the loss is"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_in_the_failure_file(
    job: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], line: str
) -> None:
    assert job(*more) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {line}")
    assert (tmp_path / "output/failure").read_text().startswith(line)
    assert not (tmp_path / "model").exists()


def test_a_damaged_shard_is_named(job: Run, tmp_path: Path) -> None:
    path = tmp_path / "train" / shard_name("train", 0, 1)
    path.write_bytes(path.read_bytes()[:-9])
    assert job() == 1
    assert shard_name("train", 0, 1) in (tmp_path / "output/failure").read_text()


def test_the_failure_file_goes_where_sagemaker_looks() -> None:
    options = train.parse([], {"SM_OUTPUT_DATA_DIR": "/a/output/data"})
    assert options.output_dir == Path("/a/output")
    options = train.parse([], {"SM_OUTPUT_DIR": "/b/output"})
    assert options.output_dir == Path("/b/output")


def test_every_hyperparameter_is_a_flag() -> None:
    flags = [
        *(
            "--pretraining-epochs=8",
            "--guessing-epochs=9",
            "--epochs=1",
            "--embedding-dim=2",
            "--hidden-dim=3",
            "--max-review-length=4",
        ),
        *("--batch-size=5", "--learning-rate=0.1", "--dropout=0.2", "--seed=6"),
        *("--validation-fraction=0.3", "--patience=7", "--checkpoint-dir=/c"),
    ]
    options = train.parse(flags, {})
    assert (options.pretraining_epochs, options.guessing_epochs) == (8, 9)
    assert (options.patience, options.checkpoint_dir) == (7, Path("/c"))


def test_a_channel_that_is_named_must_be_there(
    job: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        job("--unlabelled", str(tmp_path / "wrong"))
    assert "wrong: no such folder" in capsys.readouterr().err


def test_every_flag_says_what_it_is(job: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        job("--help")
    said = capsys.readouterr().out
    flags = [*train.MODEL, *train.TRAINING]
    assert all(f"--{flag.replace('_', '-')}" in said for flag in flags)
    assert "share of the labelled reviews that is held out" in " ".join(said.split())
