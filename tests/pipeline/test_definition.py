"""The compiled definition is one that SageMaker would take; the same code gives the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest

from pipeline.compilation import SDK_CONFIG, compile_definition
from pipeline.parameters import HYPERPARAMETERS, declare
from pipeline.settings import Account
from tests.pipeline.conftest import write_clone

STEP_NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
PARAMETER_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cpu-amzn2023-sagemaker"
EXECUTION_VARIABLES = {"Execution.PipelineName", "Execution.PipelineExecutionId"}


def all_steps(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        yield step
        yield from all_steps(step["Arguments"].get("IfSteps", []))
        yield from all_steps(step["Arguments"].get("ElseSteps", []))


def values(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, dict):
        for child in node.values():
            yield from values(child)
    elif isinstance(node, list):
        for child in node:
            yield from values(child)


def step(definition: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in all_steps(definition["Steps"]) if one["Name"] == name)


def references(node: Any) -> set[str]:
    return {value["Get"] for value in values(node) if isinstance(value, dict) and "Get" in value}


def test_the_steps_are_those_of_the_picture(definition: dict[str, Any]) -> None:
    kinds = [(one["Name"], one["Type"]) for one in all_steps(definition["Steps"])]
    assert kinds == [
        ("Preprocess", "Processing"),
        ("Train", "Training"),
        ("Evaluate", "Processing"),
        ("AccuracyGate", "Condition"),
        ("BaselineGate", "Condition"),
        ("ProductionGate", "Condition"),
        ("Register", "RegisterModel"),
        ("Deploy", "Lambda"),
        ("WorseThanProduction", "Fail"),
        ("BelowBaseline", "Fail"),
        ("AccuracyTooLow", "Fail"),
    ]


def test_names_of_steps_and_parameters_are_legal(definition: dict[str, Any]) -> None:
    names = [one["Name"] for one in all_steps(definition["Steps"])]
    assert all(STEP_NAME.fullmatch(name) for name in names)
    assert len(set(names)) == len(names)
    assert all(PARAMETER_NAME.fullmatch(one["Name"]) for one in definition["Parameters"])


def test_every_reference_to_a_parameter_or_variable_resolves(definition: dict[str, Any]) -> None:
    known = {f"Parameters.{one['Name']}" for one in definition["Parameters"]}
    used = {one for one in references(definition) if not one.startswith("Steps.")}
    assert used <= known | EXECUTION_VARIABLES


def test_every_parameter_is_used(definition: dict[str, Any]) -> None:
    known = {f"Parameters.{one['Name']}" for one in definition["Parameters"]}
    assert known - references(definition) == set()


def test_every_reference_to_a_step_resolves_to_something_it_makes(
    definition: dict[str, Any],
) -> None:
    made = set()
    for one in all_steps(definition["Steps"]):
        name, arguments = one["Name"], one["Arguments"]
        for output in arguments.get("ProcessingOutputConfig", {}).get("Outputs", []):
            outputs = f"Steps.{name}.ProcessingOutputConfig.Outputs['{output['OutputName']}']"
            made.add(f"{outputs}.S3Output.S3Uri")
        for file in one.get("PropertyFiles", []):
            made.add(f"Steps.{name}.PropertyFiles.{file['PropertyFileName']}")
        if one["Type"] == "Training":
            made.add(f"Steps.{name}.ModelArtifacts.S3ModelArtifacts")
        if one["Type"] == "RegisterModel":
            made.add(f"Steps.{name}.ModelPackageArn")
    used = {one for one in references(definition) if one.startswith("Steps.")}
    assert used <= made


def test_no_step_refers_to_a_later_one(definition: dict[str, Any]) -> None:
    seen: set[str] = set()
    for one in all_steps(definition["Steps"]):
        arguments = {k: v for k, v in one["Arguments"].items() if not k.endswith("Steps")}
        used = {name.split(".")[1] for name in references(arguments) if name.startswith("Steps.")}
        assert used <= seen
        seen.add(one["Name"])


def test_property_files_are_written_by_an_output_of_their_step(
    definition: dict[str, Any],
) -> None:
    for one in all_steps(definition["Steps"]):
        outputs = one["Arguments"].get("ProcessingOutputConfig", {}).get("Outputs", [])
        names = {output["OutputName"] for output in outputs}
        assert {file["OutputName"] for file in one.get("PropertyFiles", [])} <= names


def test_the_fail_message_holds_both_accuracies(definition: dict[str, Any]) -> None:
    message = step(definition, "AccuracyTooLow")["Arguments"]["ErrorMessage"]
    assert "Parameters.MinAccuracy" in references(message)
    assert any("Std:JsonGet" in one for one in values(message) if isinstance(one, dict))


def test_the_gate_compares_the_measured_accuracy_with_the_wanted(
    definition: dict[str, Any],
) -> None:
    (condition,) = step(definition, "AccuracyGate")["Arguments"]["Conditions"]
    assert condition["Type"] == "GreaterThanOrEqualTo"
    path = condition["LeftValue"]["Std:JsonGet"]["Path"]
    assert path == "binary_classification_metrics.accuracy.value"
    assert condition["RightValue"] == {"Get": "Parameters.MinAccuracy"}


def test_the_second_gate_compares_the_advantage_over_the_baseline(
    definition: dict[str, Any],
) -> None:
    (condition,) = step(definition, "BaselineGate")["Arguments"]["Conditions"]
    assert condition["Type"] == "GreaterThanOrEqualTo"
    assert condition["LeftValue"]["Std:JsonGet"]["Path"] == "advantage_over_baseline.value"
    assert condition["RightValue"] == {"Get": "Parameters.MinAdvantageOverBaseline"}


def test_its_fail_message_holds_both_accuracies_and_the_bar(definition: dict[str, Any]) -> None:
    message = step(definition, "BelowBaseline")["Arguments"]["ErrorMessage"]
    assert "Parameters.MinAdvantageOverBaseline" in references(message)
    paths = [one["Path"] for one in values(message) if isinstance(one, dict) and "Path" in one]
    assert paths == [
        "binary_classification_metrics.accuracy.value",
        "baseline.accuracy.value",
        "advantage_over_baseline.value",
    ]


def test_the_third_gate_compares_the_drop_below_production(definition: dict[str, Any]) -> None:
    (condition,) = step(definition, "ProductionGate")["Arguments"]["Conditions"]
    assert condition["Type"] == "LessThanOrEqualTo"
    assert condition["LeftValue"]["Std:JsonGet"]["Path"] == "accuracy_drop.value"
    assert condition["RightValue"] == {"Get": "Parameters.MaxAccuracyDrop"}
    message = step(definition, "WorseThanProduction")["Arguments"]["ErrorMessage"]
    assert "Parameters.MaxAccuracyDrop" in references(message)


def test_the_report_names_hyperparameters_bars_and_code(definition: dict[str, Any]) -> None:
    arguments = step(definition, "Evaluate")["Arguments"]["AppSpecification"]["ContainerArguments"]
    named = [arguments[at + 1] for at, argument in enumerate(arguments) if argument == "--made-of"]
    assert {
        "Epochs",
        "MinAccuracy",
        "MaxAccuracyDrop",
        "SourceCommit",
        "InputDataUrl",
        "code digest",
    } <= set(named)


def test_images_are_of_the_maintained_line(definition: dict[str, Any]) -> None:
    for name in ("Preprocess", "Evaluate"):
        assert step(definition, name)["Arguments"]["AppSpecification"]["ImageUri"] == IMAGE
    (default,) = (
        one["DefaultValue"] for one in definition["Parameters"] if one["Name"] == "TrainingImageUri"
    )
    assert default == IMAGE


@pytest.mark.parametrize("name", ["Preprocess", "Train", "Evaluate"])
def test_jobs_are_cached_and_retried(definition: dict[str, Any], name: str) -> None:
    one = step(definition, name)
    assert one["CacheConfig"] == {"Enabled": True, "ExpireAfter": "P30D"}
    assert {kind for policy in one["RetryPolicies"] for kind in policy["ExceptionType"]} >= {
        "Step.THROTTLING",
        "SageMaker.CAPACITY_ERROR",
    }


def test_what_the_cache_key_reads_does_not_change_from_run_to_run(
    definition: dict[str, Any],
) -> None:
    inputs = [
        step(definition, "Preprocess")["Arguments"]["ProcessingInputs"],
        step(definition, "Evaluate")["Arguments"]["ProcessingInputs"],
        step(definition, "Train")["Arguments"]["InputDataConfig"],
        step(definition, "Train")["Arguments"]["HyperParameters"],
    ]
    assert not any(name.startswith("Execution.") for name in references(inputs))


def test_the_serving_container_knows_its_program(definition: dict[str, Any]) -> None:
    specification = step(definition, "Register")["Arguments"]["InferenceSpecification"]
    (container,) = specification["Containers"]
    assert container["Environment"]["SAGEMAKER_PROGRAM"] == "inference.py"
    assert container["Environment"]["SAGEMAKER_SUBMIT_DIRECTORY"] == "/opt/ml/model/code"


def test_the_model_card_is_json_once_the_accuracy_is_known(definition: dict[str, Any]) -> None:
    card = step(definition, "Register")["Arguments"]["ModelCard"]["ModelCardContent"]
    parts = ["0.9" if isinstance(part, dict) else part for part in card["Std:Join"]["Values"]]
    content = json.loads("".join(parts))
    (metric,) = content["evaluation_details"][0]["metric_groups"][0]["metric_data"]
    assert metric == {"name": "accuracy", "type": "number", "value": 0.9}


def test_every_hyperparameter_comes_from_a_parameter(definition: dict[str, Any]) -> None:
    hyperparameters = step(definition, "Train")["Arguments"]["HyperParameters"]
    assert hyperparameters.pop("checkpoint-dir") == "/opt/ml/checkpoints"
    assert set(hyperparameters) == set(HYPERPARAMETERS.values())
    assert references(hyperparameters) == {f"Parameters.{name}" for name in HYPERPARAMETERS}


def test_parameters_are_declared_as_the_command_line_knows_them(
    definition: dict[str, Any], account: Account
) -> None:
    declared = [
        {"Name": one.name, "Type": one.type_name, "DefaultValue": one.default}
        | ({"EnumValues": list(one.choices)} if one.choices else {})
        for one in declare(account, IMAGE)
    ]
    assert definition["Parameters"] == declared


def test_two_compiles_of_one_tree_at_different_places_are_the_same(
    definition_text: str, aws_session: boto3.Session, account: Account, tmp_path: Path
) -> None:
    other = write_clone(tmp_path / "another clone, elsewhere")
    assert compile_definition(aws_session, account, other).text == definition_text


def test_a_changed_line_in_the_model_changes_the_definition(
    definition_text: str, aws_session: boto3.Session, account: Account, tmp_path: Path
) -> None:
    other = write_clone(tmp_path / "clone")
    (other / "model" / "text.py").write_text("words = ('good', 'bad', 'fair')\n")
    assert compile_definition(aws_session, account, other).text != definition_text


def test_a_file_that_no_job_needs_does_not_change_the_definition(
    definition_text: str, aws_session: boto3.Session, account: Account, tmp_path: Path
) -> None:
    other = write_clone(tmp_path / "clone")
    (other / "model" / "scratch.log").write_text("stray")
    (other / "steps" / "notes.py").write_text("stray")
    assert compile_definition(aws_session, account, other).text == definition_text


def test_all_that_the_definition_reads_from_the_bucket_is_there(
    definition: dict[str, Any], aws_session: boto3.Session, account: Account
) -> None:
    listing = aws_session.client("s3").list_objects_v2(Bucket=account.bucket)
    keys = [f"s3://{account.bucket}/{item['Key']}" for item in listing["Contents"]]
    arguments = [one["Arguments"] for one in definition["Steps"]]
    inputs = [one.get("ProcessingInputs") for one in arguments]
    inputs += [one.get("InputDataConfig") for one in arguments]
    uris = [one for one in values(inputs) if isinstance(one, str) and one.startswith("s3://")]
    assert uris
    assert all(any(key.startswith(uri) for key in keys) for uri in uris)


def test_the_configuration_of_the_sdk_is_valid_and_opts_out_of_telemetry() -> None:
    from sagemaker.core.config.config_manager import SageMakerConfig

    SageMakerConfig.validate_sagemaker_config(SDK_CONFIG)
    assert SDK_CONFIG["SageMaker"]["PythonSDK"]["Modules"]["TelemetryOptOut"] is True


def test_a_compile_reports_nothing_to_anyone(
    aws_session: boto3.Session, account: Account, clone: Path
) -> None:
    from sagemaker.core.telemetry import telemetry_logging

    with mock.patch.object(telemetry_logging, "_send_telemetry_request") as send:
        compile_definition(aws_session, account, clone)
    send.assert_not_called()
