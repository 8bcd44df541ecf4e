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
from model.baseline import fit_baseline, judge_baseline
from model.errors import DataError
from model.evaluation import Judged, encode_texts, evaluate, read_production, read_texts
from model.explain import explain
from model.files import read_json, sha256_of, write_file, write_json
from model.highlights import Mistake
from model.jobs import run_job
from model.judging import combine, judge_branches, probability
from model.labelled import NO_TABLE, find_table, read_labelled
from model.ngrams import NgramBranch
from model.predictor import Predictor
from model.report import report_html
from model.shards import Reviews, read_shards

MISTAKES = 20
BARS = ("MinAccuracy", "MinAdvantageOverBaseline", "MaxAccuracyDrop")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path("/opt/ml/processing")
    parser.add_argument("--model", type=Path, default=root / "input/model")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--test", type=Path, default=root / "input/test", help="folder of shards")
    data.add_argument("--labelled", type=Path, help="CSV or TSV, or the folder that holds one")
    parser.add_argument("--train", type=Path, help="shards to train the baseline on")
    parser.add_argument("--counterfactual", type=Path, help="folder with one table, or with none")
    parser.add_argument("--production", type=Path, help="folder with its evaluation.json, if any")
    parser.add_argument("--data-report", type=Path, help="folder with data_report.json")
    parser.add_argument(
        "--made-of",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a pipeline parameter or another fact for the report",
    )
    parser.add_argument("--output", type=Path, default=root / "output/evaluation")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    artifact = open_artifact(options.model)
    vocabulary = artifact.vocabulary
    if options.labelled is not None:
        reviews, texts = read_table(options.labelled, artifact)
    else:
        reviews = read_shards(options.test, vocabulary.sha256, len(vocabulary))
        texts = read_texts(options.test)
        if texts and len(texts) != len(reviews):
            raise DataError(
                f"{options.test}: holds {len(reviews)} reviews and {len(texts)} texts of them"
            )
    baseline = None
    if options.train is not None:
        train = read_shards(options.train, vocabulary.sha256, len(vocabulary))
        baseline = fit_baseline(train, len(vocabulary))
    table = find_table(options.counterfactual) if options.counterfactual else None
    rewritten = read_table(table, artifact)[0] if table else None
    facts = made_of(options)
    if table:
        facts["SHA-256 of rewritten reviews to judge"] = sha256_of(table)
    test = judge_all(artifact, baseline, reviews)
    result = evaluate(
        test,
        reviews.lengths,
        texts,
        counterfactual=judge_all(artifact, baseline, rewritten) if rewritten else None,
        production=read_production(options.production),
        data_sha256=facts.get("data SHA-256", "unknown"),
    )
    page = report_html(
        result,
        history=history(artifact),
        mistakes=mistakes(artifact, texts, test) if texts else [],
        bars={name: float(facts[name]) for name in BARS if name in facts},
        lineage=facts,
        unseen=options.labelled is None,
    )
    options.output.mkdir(parents=True, exist_ok=True)
    predictions = predictions_csv(test.labels, test.probabilities)
    write_file(options.output / "predictions.csv", predictions)
    write_file(options.output / "report.html", page.encode())
    write_json(options.output / "evaluation.json", result)
    print(summary(result))


def open_artifact(folder: Path) -> Artifact:
    """The artifact of a model directory, or of a folder with model.tar.gz."""
    if (folder / "manifest.json").is_file():
        return load_artifact(folder)
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        directory = Path(scratch) / "model"
        unpack(folder / ARCHIVE_NAME, directory)
        return load_artifact(directory)


def read_table(path: Path, artifact: Artifact) -> tuple[Reviews, list[str]]:
    table = find_table(path)
    if table is None:
        raise DataError(f"{path}: holds no .csv or .tsv file")
    texts, labels = read_labelled(table)
    return encode_texts(texts, labels, artifact.vocabulary), texts


def judge_all(artifact: Artifact, baseline: NgramBranch | None, reviews: Reviews) -> Judged:
    """One pass through the model gives each branch and, of these, the model's own verdict."""
    branches = judge_branches(artifact.model, reviews, np.arange(len(reviews)))
    return Judged(
        reviews.labels,
        probability(combine(artifact.model, branches)),
        judge_baseline(baseline, reviews) if baseline else None,
        {name: probability(logits) for name, logits in branches.items()},
    )


def mistakes(artifact: Artifact, texts: Sequence[str], test: Judged) -> list[Mistake]:
    """The most confident of the wrong verdicts, explained."""
    predictor = Predictor(artifact)
    confidence = np.abs(test.probabilities - 0.5)
    wrong = np.flatnonzero((test.probabilities >= 0.5) != (test.labels == 1))
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        Mistake(
            texts[index],
            int(test.labels[index]),
            float(test.probabilities[index]),
            explain(predictor, texts[index]),
        )
        for index in chosen
    ]


def history(artifact: Artifact) -> dict[str, Any]:
    """What the artifact tells of its training."""
    training = artifact.document.get("training")
    return training if isinstance(training, dict) else {}


def made_of(options: argparse.Namespace) -> dict[str, str]:
    """What the report says of the version's origin."""
    facts = {name: value for name, value in options.made_of}
    if options.data_report is not None:
        report = read_json(options.data_report / "data_report.json")
        facts["data"] = str(report["input"]["name"])
        facts["data SHA-256"] = str(report["input"]["sha256"])
        facts["dictionary SHA-256"] = str(report["vocabulary"]["sha256"])
        trained = str(report.get("counterfactual", {}).get("sha256", NO_TABLE))
        if trained != NO_TABLE:
            facts["SHA-256 of rewritten reviews to train with"] = trained
    return facts


def summary(result: dict[str, Any]) -> str:
    accuracy = result["binary_classification_metrics"]["accuracy"]["value"]
    line = f"accuracy {accuracy:.4f} on {result['dataset']['item_count']} reviews"
    if "baseline" in result:
        baseline = result["baseline"]
        line += f"; {baseline['name']} {baseline['accuracy']['value']:.4f}"
    if "counterfactual" in result:
        rewritten = result["counterfactual"]
        line += (
            f"; {rewritten['accuracy']['value']:.4f} on {rewritten['item_count']} rewritten reviews"
        )
    return line


def predictions_csv(labels: Any, probabilities: Any) -> bytes:
    """A row a review, counted from 1 in the order of the shards or the table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "probability", "label", "predicted"])
    for row, (label, chance) in enumerate(zip(labels, probabilities, strict=True), 1):
        writer.writerow([row, f"{chance:.6f}", int(label), int(chance >= 0.5)])
    return text.getvalue().encode()


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    return run_job(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
