"""Steps of pipeline definitions that the tests run."""

from __future__ import annotations

from typing import Any

CLUSTER = {
    "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
}
SCRIPT = """
import json, os, pathlib, sys
print("arguments", sys.argv[1:], os.environ.get("FROM_IMAGE"), os.environ.get("FROM_STEP"))
print(json.loads(pathlib.Path("config/resourceconfig.json").read_text())["current_host"])
out = pathlib.Path(sys.argv[1])
(out / "report.json").write_text(json.dumps({"score": float(sys.argv[2])}))
"""


def processing(
    box: Any, name: str, script: str, *arguments: Any, cached: bool = False, **more: Any
) -> Any:
    """A Processing step that runs a script with /opt/ml/processing/output as first argument."""
    box.put(f"code/{name}/main.py", script)
    output = {
        "OutputName": "out",
        "S3Output": {
            "S3Uri": {
                "Std:Join": {
                    "On": "/",
                    "Values": ["s3://b/runs", {"Get": "Execution.PipelineExecutionId"}, name],
                }
            },
            "LocalPath": "/opt/ml/processing/output",
            "S3UploadMode": "EndOfJob",
        },
    }
    code = {
        "InputName": "code",
        "S3Input": {
            "S3Uri": f"s3://b/code/{name}",
            "S3DataType": "S3Prefix",
            "LocalPath": "/opt/ml/processing/input/code",
        },
    }
    step = {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "ProcessingResources": CLUSTER,
            "AppSpecification": {
                "ImageUri": "job:1",
                "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/main.py"],
                "ContainerArguments": ["/opt/ml/processing/output", *arguments],
            },
            "Environment": {"FROM_STEP": "yes"},
            "ProcessingInputs": [code],
            "ProcessingOutputConfig": {"Outputs": [output]},
        },
        "PropertyFiles": [
            {"PropertyFileName": "report", "OutputName": "out", "FilePath": "report.json"}
        ],
        **more,
    }
    if cached:
        step["CacheConfig"] = {"Enabled": True, "ExpireAfter": "P30D"}
    return step


def score_of(step: str) -> Any:
    report = {"Get": f"Steps.{step}.PropertyFiles.report"}
    return {"Std:JsonGet": {"PropertyFile": report, "Path": "score"}}


def gate(step: str, minimum: Any, then: Any = ()) -> Any:
    message = {"Std:Join": {"On": " ", "Values": ["score", score_of(step), "<", minimum]}}
    return {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [
                {
                    "Type": "GreaterThanOrEqualTo",
                    "LeftValue": score_of(step),
                    "RightValue": minimum,
                }
            ],
            "IfSteps": list(then),
            "ElseSteps": [
                {"Name": "TooLow", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
            ],
        },
    }


def lambda_step(name: str, function: str, arguments: Any, *outputs: str) -> Any:
    return {
        "Name": name,
        "Type": "Lambda",
        "FunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{function}",
        "Arguments": arguments,
        "OutputParameters": [{"OutputName": item, "OutputType": "String"} for item in outputs],
    }
