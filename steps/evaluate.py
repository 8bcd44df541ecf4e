"""The Evaluate job: a model version judged on test shards or on a labelled table."""

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.artifact import ARCHIVE_NAME, Artifact, load_artifact, unpack
from model.files import write_file, write_json
from model.jobs import run_job
from model.judging import judge
from model.labelled import find_table, read_labelled
from model.metrics import evaluation
from model.predictor import Predictor
from model.shards import read_shards


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path("/opt/ml/processing")
    parser.add_argument("--model", type=Path, default=root / "input/model")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--test", type=Path, default=root / "input/test", help="folder of shards")
    data.add_argument("--labelled", type=Path, help="CSV or TSV, or the folder that holds one")
    parser.add_argument("--output", type=Path, default=root / "output/evaluation")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        directory = options.model
        if not (directory / "manifest.json").is_file():
            directory = Path(scratch) / "model"
            unpack(options.model / ARCHIVE_NAME, directory)
        artifact = load_artifact(directory)
    if options.labelled is not None:
        labels, probabilities = judge_table(artifact, options.labelled)
    else:
        labels, probabilities = judge_shards(artifact, options.test)
    result = evaluation(labels, probabilities)
    options.output.mkdir(parents=True, exist_ok=True)
    write_file(options.output / "predictions.csv", predictions_csv(labels, probabilities))
    write_json(options.output / "evaluation.json", result)
    accuracy = result["binary_classification_metrics"]["accuracy"]["value"]
    print(f"accuracy {accuracy:.4f} on {len(labels)} reviews")


def judge_shards(artifact: Artifact, folder: Path) -> tuple[Any, Any]:
    vocabulary = artifact.vocabulary
    reviews = read_shards(folder, vocabulary.sha256, len(vocabulary))
    return reviews.labels, judge(artifact.model, reviews, np.arange(len(reviews)))


def judge_table(artifact: Artifact, path: Path) -> tuple[Any, Any]:
    texts, labels = read_labelled((find_table(path) if path.is_dir() else None) or path)
    predictions = Predictor(artifact).predict(texts)
    return np.array(labels), np.array([prediction.probability for prediction in predictions])


def predictions_csv(labels: Any, probabilities: Any) -> bytes:
    """A row a review, counted from 1 in the order of the shards or the table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "probability", "label", "predicted"])
    for row, (label, probability) in enumerate(zip(labels, probabilities, strict=True), 1):
        writer.writerow([row, f"{probability:.6f}", int(label), int(probability >= 0.5)])
    return text.getvalue().encode()


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    return run_job(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
