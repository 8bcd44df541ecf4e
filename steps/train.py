"""The Train job: encoded reviews in, a model directory out."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from model.artifact import write_artifact
from model.files import write_json
from model.jobs import run_job
from model.lstm import LSTMConfig
from model.recipe import Corpus, Run, train
from model.settings import TrainingSettings
from model.shards import Reviews, concatenate, read_shards
from model.vocabulary import Vocabulary
from model.workers import join_workers


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Hyperparameters come as flags, folders from the environment that SageMaker sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    folders = {
        "--train": ("SM_CHANNEL_TRAIN", "/opt/ml/input/data/train"),
        "--unlabelled": ("SM_CHANNEL_UNLABELLED", "/opt/ml/input/data/unlabelled"),
        "--counterfactual": ("SM_CHANNEL_COUNTERFACTUAL", "/opt/ml/input/data/counterfactual"),
        "--vocabulary": ("SM_CHANNEL_VOCABULARY", "/opt/ml/input/data/vocabulary"),
        "--model-dir": ("SM_MODEL_DIR", "/opt/ml/model"),
        "--output-data-dir": ("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"),
    }
    for flag, (variable, default) in folders.items():
        parser.add_argument(flag, type=Path, default=Path(environ.get(variable, default)))
    parser.add_argument("--output-dir", type=Path, default=environ.get("SM_OUTPUT_DIR"))
    parser.add_argument("--checkpoint-dir", type=Path, default=Path("/opt/ml/checkpoints"))
    model, training = LSTMConfig(1), TrainingSettings()
    for name in ("embedding_dim", "hidden_dim", "max_review_length", "dropout"):
        _add(parser, name, getattr(model, name))
    for name in (
        "epochs",
        "pretraining_epochs",
        "guessing_epochs",
        "batch_size",
        "learning_rate",
        "seed",
        "validation_fraction",
    ):
        _add(parser, name, getattr(training, name))
    _add(parser, "patience", training.patience)
    options = parser.parse_args(arguments)
    options.output_dir = options.output_dir or options.output_data_dir.parent
    return options


def _add(parser: argparse.ArgumentParser, name: str, default: float) -> None:
    parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    vocabulary = Vocabulary.load(options.vocabulary / "vocabulary.json")
    corpus = Corpus(
        labelled=read_channel(options.train, vocabulary),
        unlabelled=read_channel(options.unlabelled, vocabulary, optional=True),
        counterfactual=read_channel(options.counterfactual, vocabulary, optional=True),
    )
    config = LSTMConfig(
        vocabulary_size=len(vocabulary),
        embedding_dim=options.embedding_dim,
        hidden_dim=options.hidden_dim,
        max_review_length=options.max_review_length,
        dropout=options.dropout,
    )
    settings = TrainingSettings(
        epochs=options.epochs,
        pretraining_epochs=options.pretraining_epochs,
        guessing_epochs=options.guessing_epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        validation_fraction=options.validation_fraction,
        patience=options.patience,
        seed=options.seed,
    )
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    with join_workers(environ) as workers:
        training = Run(
            settings,
            checkpoints=options.checkpoint_dir,
            say=lambda line: print(line, flush=True),
            stop_asked=lambda: bool(stopped),
            workers=workers,
        )
        model, history = train(config, corpus, training)
    if not workers.leads:
        return  # one of the processes writes for all
    source = {
        "training_job": environ.get("TRAINING_JOB_NAME", ""),
        "vocabulary_sha256": vocabulary.sha256,
        "torch": torch.__version__,
        "processes": workers.count,
    }
    code = Path(__file__).resolve().parent
    write_artifact(options.model_dir, model, vocabulary, code, training=history, source=source)
    options.output_data_dir.mkdir(parents=True, exist_ok=True)
    write_json(options.output_data_dir / "training_history.json", history)


def read_channel(folder: Path, vocabulary: Vocabulary, *, optional: bool = False) -> Reviews:
    """The reviews of a channel; of an optional one that is not there, none."""
    if optional and not folder.is_dir():
        return concatenate([])
    return read_shards(folder, vocabulary.sha256, len(vocabulary))


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    options = parse(arguments, environ)
    return run_job(lambda: run(options, environ), options.output_dir / "failure")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
