from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ExecutionError
from pipeline.evaluation import evaluate
from pipeline.executions import Executions
from pipeline.registry import Registry
from pipeline.target import Target
from tests.pipeline.conftest import register, write_clone

# Stands for steps/evaluate.py: shows that the file and the model have arrived.
EVALUATE = """
import pathlib, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
(table,) = pathlib.Path(options["--labelled"]).iterdir()
rows = table.read_text().splitlines()
if rows[0] != "text,label":
    sys.exit(f"row 1: {rows[0]}")
assert (pathlib.Path(options["--model"]) / "model.tar.gz").read_text() == "model"
output = pathlib.Path(options["--output"])
(output / "evaluation.json").write_text('{"rows": %d}' % (len(rows) - 1))
(output / "predictions.csv").write_text("row,probability,label,predicted\\n")
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    made = write_clone(tmp_path / "clone")
    (made / "steps" / "evaluate.py").write_text(EVALUATE)
    return made


@pytest.fixture
def version(target: Target) -> Any:
    s3 = target.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="model.tar.gz", Body=b"model")
    step = {
        "Name": "Evaluate",
        "Type": "Processing",
        "Arguments": {
            "AppSpecification": {"ImageUri": "image:1"},
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 1,
                }
            },
            "RoleArn": "arn:aws:iam::000000000000:role/r",
        },
    }
    Executions(target).upsert(
        json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": [step]})
    )
    return Registry(target).find(register(target))


def test_a_version_is_evaluated_by_a_job(
    target: Target, version: Any, clone: Path, tmp_path: Path
) -> None:
    labelled = tmp_path / "my rows.CSV"
    labelled.write_text("text,label\ngood,1\nbad,0\n")
    evaluation = evaluate(target, version, labelled, clone)
    assert evaluation.version == 1
    assert evaluation.metrics == {"rows": 2}
    assert evaluation.predictions_csv == b"row,probability,label,predicted\n"


def test_what_the_job_says_of_a_bad_file_is_passed_on(
    target: Target, version: Any, clone: Path, tmp_path: Path
) -> None:
    labelled = tmp_path / "rows.csv"
    labelled.write_text("x,y\n")
    with pytest.raises(ExecutionError, match=r"evaluation failed: .*row 1: x,y \(log: /aws"):
        evaluate(target, version, labelled, clone)
