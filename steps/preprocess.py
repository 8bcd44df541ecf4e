"""The Preprocess job: reviews in, dictionary and encoded shards out."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.chunks import Host
from model.errors import DataError
from model.files import read_json
from model.jobs import run_job
from model.preprocessing import SPLITS, PreprocessOutputs, PreprocessSettings, preprocess
from model.text import TextSettings

# SageMaker refuses an empty string as the value of a pipeline parameter.
ANY_DATA = "any"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path("/opt/ml/processing")
    parser.add_argument("--input", type=Path, default=root / "input/data")
    parser.add_argument(
        "--counterfactual-input", type=Path, help="folder with one table of rewritten reviews"
    )
    for name in (*SPLITS, "vocabulary", "report"):
        parser.add_argument(f"--{name}", type=Path, default=root / "output" / name)
    parser.add_argument("--vocabulary-size", type=int, default=40_000)
    parser.add_argument("--text-preset", default="modern")
    parser.add_argument(
        "--expected-sha256", default=ANY_DATA, help=f"of the archive, or {ANY_DATA}"
    )
    parser.add_argument(
        "--resource-config",
        type=Path,
        default=Path("/opt/ml/config/resourceconfig.json"),
        help="names this host and those that share the work; none where it is absent",
    )
    parser.add_argument("--max-reviews", type=int, default=0, help="of each split; 0 is all")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    names = (*SPLITS, "vocabulary", "report")
    outputs = PreprocessOutputs(**{name: getattr(options, name) for name in names})
    settings = PreprocessSettings(
        vocabulary_size=options.vocabulary_size,
        text=TextSettings(options.text_preset),
        max_reviews=options.max_reviews,
        expected_sha256="" if options.expected_sha256 == ANY_DATA else options.expected_sha256,
    )
    report = preprocess(
        options.input,
        outputs,
        settings,
        counterfactual=options.counterfactual_input,
        host=this_host(options.resource_config),
    )
    counts = ", ".join(f"{name} {split['reviews']}" for name, split in report["splits"].items())
    print(
        f"reviews: {counts}; dictionary: {report['vocabulary']['words']} words;"
        f" {report['seconds']} s, {report['reviews_per_second']:.0f} reviews/s"
    )


def this_host(resource_config: Path) -> Host:
    """Raises DataError for a file that does not name this host among all hosts."""
    if not resource_config.exists():
        return Host()
    value = read_json(resource_config)
    try:
        hosts = sorted(value["hosts"])
        return Host(hosts.index(value["current_host"]), len(hosts))
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f'{resource_config}: must be of the form {{"current_host": "algo-1", "hosts": [...]}}'
        ) from None


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    return run_job(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
