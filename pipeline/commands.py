"""What each command of `sentiment` does: call the module that knows, print what it says."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import DataError
from pipeline.opening import opened
from pipeline.output import number, print_json
from pipeline.settings import ROOT, Settings

if TYPE_CHECKING:
    from pipeline.registry import Version
    from pipeline.target import Target

# Imports of boto3 and of modules that need it wait inside the functions: `--help` must not pay.


def run(options: Namespace, settings: Settings) -> int:
    """Run the pipeline to its end."""
    from pipeline.run import Request
    from pipeline.run import run as run_pipeline

    request = Request(options.data, options.parameter, options.approve)
    result = run_pipeline(opened(settings), request, ROOT, sys.stderr)
    version = result.version
    if options.json:
        print_json(result.as_json())
        return 0
    print(f"Succeeded in {result.seconds:.1f} s (execution {result.execution.id})")
    print(f"  data      {result.about_data}")
    print(f"  accuracy  {number(version.accuracy)} on the test reviews")
    print(f"  version   {version.number}, {version.status}")
    if result.prediction:
        print(f"  review    {result.prediction['review']}")
        print(f"  answer    {json.dumps(result.prediction['answer'])}  (POST /predict)")
        print("  next      sentiment serve")
    else:
        print(f"  next      sentiment registry approve {version.number} --reason '…'")
    return 0


def registry_list(options: Namespace, settings: Settings) -> int:
    """List the model versions."""
    from pipeline.display import terminal_width, text_table
    from pipeline.registry import Registry

    versions = Registry(opened(settings)).versions()
    if options.json:
        print_json([version.as_json() for version in versions])
    elif versions:
        rows = [
            (
                one.number,
                one.state,
                number(one.accuracy),
                f"{one.created:%Y-%m-%d %H:%M}",
                one.reason,
            )
            for one in versions
        ]
        headings = ("version", "status", "accuracy", "created", "reason")
        print(text_table(headings, rows, terminal_width()))
    else:
        print("no version is registered yet (start with: sentiment run)", file=sys.stderr)
    return 0


def registry_show(options: Namespace, settings: Settings) -> int:
    """Show all that is known of a version."""
    from pipeline.registry import Registry

    version = Registry(opened(settings)).find(options.version)
    facts = version.as_json()
    if options.json:
        print_json(facts)
        return 0
    metadata = facts.pop("metadata")
    for name, value in {**facts, **metadata}.items():
        if value is None:
            continue
        print(f"{name:<18} {value}")
    return 0


def approve(options: Namespace, settings: Settings) -> int:
    """Approve a version; the deploy function then serves it."""
    from pipeline.registry import APPROVED

    return _decide(options, settings, APPROVED)


def reject(options: Namespace, settings: Settings) -> int:
    """Reject a version; if it is served, the one approved before is served again."""
    from pipeline.registry import REJECTED

    return _decide(options, settings, REJECTED)


def _decide(options: Namespace, settings: Settings, wanted: str) -> int:
    from pipeline.registry import Registry

    decision = Registry(opened(settings)).decide(options.version, wanted, options.reason or "")
    version = decision.version
    if options.json:
        print_json({**version.as_json(), "changed": decision.changed})
    elif decision.changed:
        print(f"version {version.number} is now {version.status}: {version.reason}")
    else:
        print(f"version {version.number} is {version.status} already; nothing is changed")
    return 0


def predict(options: Namespace, settings: Settings) -> int:
    """Judge a text, or standard input line by line."""
    from dataclasses import asdict

    from pipeline.endpoint import Endpoint

    reviews = _lines_of_stdin() if options.text == "-" else iter([options.text])
    for prediction in Endpoint(opened(settings)).predict(reviews):
        if options.json:
            verdict = {} if prediction.token_count else {"label": None, "probability": None}
            print(json.dumps(asdict(prediction) | verdict), flush=True)
            continue
        label = prediction.label if prediction.token_count else "nothing to judge"
        version = f"version {prediction.model_version}"
        print(f"{label}\t{prediction.probability:.4f}\t{version}", flush=True)
    return 0


def _lines_of_stdin() -> Iterator[str]:
    try:
        for line in sys.stdin:
            yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise DataError("standard input is not UTF-8 (wanted: one review a line)") from error


def evaluate(options: Namespace, settings: Settings) -> int:
    """Evaluate a version on a labelled file."""
    from pipeline.evaluation import evaluate as evaluate_file
    from pipeline.tables import check_table

    path = Path(options.file)
    check_table(path)
    if options.predictions and not Path(options.predictions).parent.is_dir():
        raise DataError(f"--predictions: no folder at {Path(options.predictions).parent}")
    target = opened(settings)
    version = _version_or_served(target, options.version)
    print(f"evaluating version {version.number} on {path}", file=sys.stderr, flush=True)
    evaluation = evaluate_file(target, version, path, ROOT)
    if options.predictions:
        Path(options.predictions).write_bytes(evaluation.predictions_csv)
    if options.json:
        print_json(evaluation.metrics)
        return 0
    metrics = evaluation.metrics["binary_classification_metrics"]
    print(f"version    {evaluation.version}")
    for name in ("accuracy", "precision", "recall", "f1", "auc"):
        print(f"{name:<10} {number(metrics[name]['value'])}")
    confusion = metrics["confusion_matrix"]
    print(f"negative   {confusion['0']['0']} right, {confusion['0']['1']} taken for positive")
    print(f"positive   {confusion['1']['1']} right, {confusion['1']['0']} taken for negative")
    return 0


def _version_or_served(target: Target, number: int | None) -> Version:
    """The version asked for, else the one that is served, else the newest."""
    from pipeline.endpoint import Endpoint
    from pipeline.errors import RegistryError
    from pipeline.registry import Registry

    registry = Registry(target)
    if number is None:
        served = Endpoint(target).served()
        number = served.version if served else None
    if number is not None:
        return registry.find(number)
    versions = registry.versions()
    if not versions:
        raise RegistryError("no version is registered yet (start with: sentiment run)")
    return versions[0]


def endpoint(options: Namespace, settings: Settings) -> int:
    """Show what is served."""
    from pipeline.endpoint import Endpoint

    served = Endpoint(opened(settings)).served()
    if served is None:
        if options.json:
            print_json(None)
        print(
            "nothing is served yet (approve a version: sentiment registry approve V --reason '…')",
            file=sys.stderr,
        )
        return 1
    if options.json:
        print_json(served.as_json())
        return 0
    for name, value in served.as_json().items():
        if value:
            print(f"{name:<18} {value}")
    return 0


def serve(options: Namespace, settings: Settings) -> int:
    """Serve API and website until interrupted."""
    from pipeline import serving
    from pipeline.endpoint import Endpoint

    listener = serving.bind(options.host, options.port)
    with listener:
        target = opened(settings)
        served = Endpoint(target).served()
        what = f"version {served.version}" if served else "no version yet: approve one"
        print(
            f"website and API on http://{options.host}:{listener.getsockname()[1]}"
            f" ({what}); Ctrl-C ends",
            file=sys.stderr,
            flush=True,
        )
        serving.serve(target, ROOT, listener)
    return 0
