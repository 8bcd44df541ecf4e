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
from model.memory import keep_freed_memory
from model.recipe import Corpus, Run, train
from model.settings import PRECISIONS, TrainingSettings
from model.shards import Reviews, concatenate, read_shards
from model.vocabulary import Vocabulary
from model.workers import join_workers

MODEL = {
    "embedding_dim": "numbers that stand for a word",
    "hidden_dim": "numbers of state of an LSTM",
    "max_review_length": "words of a review that the LSTMs read",
    "dropout": "of what the LSTMs hold of a review; half of that of the words' vectors",
}
TRAINING = {
    "pretraining_epochs": "times that all reviews are read without their labels, first of all",
    "guessing_epochs": "times that labels are read before those of unlabelled reviews are guessed;"
    " with 0 none are",
    "epochs": "times at most that labels and guesses are learned",
    "patience": "epochs without a better one after which training ends",
    "batch_size": "reviews a step; a quarter of it in pre-training, fewer where reviews are few",
    "learning_rate": "the highest of its cycle; pre-training takes 0.3 of it",
    "clip_norm": "length to which a longer gradient is cut",
    "validation_fraction": "share of the labelled reviews that is held out to judge on",
    "seed": "of all that is drawn at random",
    "precision": f"of multiplications in training and guessing: {', '.join(PRECISIONS)}",
}


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Hyperparameters come as flags, folders from the environment that SageMaker sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    folders = {
        "--train": ("SM_CHANNEL_TRAIN", "input/data/train", "shards of labelled reviews"),
        "--vocabulary": ("SM_CHANNEL_VOCABULARY", "input/data/vocabulary", "the dictionary"),
        "--model-dir": ("SM_MODEL_DIR", "model", "where the model goes"),
        "--output-data-dir": ("SM_OUTPUT_DATA_DIR", "output/data", "where the history goes"),
    }
    optional = {
        "--unlabelled": ("SM_CHANNEL_UNLABELLED", "input/data/unlabelled", "shards of them"),
        "--counterfactual": (
            "SM_CHANNEL_COUNTERFACTUAL",
            "input/data/counterfactual",
            "shards of rewritten reviews",
        ),
    }
    for flag, (variable, default, about) in (folders | optional).items():
        folder = Path(environ.get(variable, Path("/opt/ml", default)))
        parser.add_argument(
            flag, type=_folder if flag in optional else Path, default=folder, help=about
        )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=environ.get("SM_OUTPUT_DIR"),
        help="where a failure is told; None is that above the history",
    )
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        default=Path("/opt/ml/checkpoints"),
        help="where a run that was broken off goes on from",
    )
    model, training = LSTMConfig(1), TrainingSettings()
    for defaults, settings in ((model, MODEL), (training, TRAINING)):
        for name, about in settings.items():
            default = getattr(defaults, name)
            flag = f"--{name.replace('_', '-')}"
            parser.add_argument(flag, type=type(default), default=default, help=about)
    options = parser.parse_args(arguments)
    options.output_dir = options.output_dir or options.output_data_dir.parent
    return options


def _folder(name: str) -> Path:
    """One that is named must be there, while the channel that is the default need not."""
    if not Path(name).is_dir():
        raise argparse.ArgumentTypeError(f"{name}: no such folder")
    return Path(name)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    vocabulary = Vocabulary.load(options.vocabulary / "vocabulary.json")
    corpus = Corpus(
        labelled=read_channel(options.train, vocabulary),
        unlabelled=read_channel(options.unlabelled, vocabulary, optional=True),
        counterfactual=read_channel(options.counterfactual, vocabulary, optional=True),
    )
    config = LSTMConfig(len(vocabulary), **{name: getattr(options, name) for name in MODEL})
    settings = TrainingSettings(**{name: getattr(options, name) for name in TRAINING})
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
    """The reviews of a channel; of an optional one that was not given, none."""
    if optional and not folder.is_dir():
        return concatenate([])
    return read_shards(folder, vocabulary.sha256, len(vocabulary))


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    options = parse(arguments, environ)
    keep_freed_memory()
    return run_job(lambda: run(options, environ), options.output_dir / "failure")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
