from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import compilation, data, run
from pipeline.errors import DataError, ExecutionError, ParameterError
from pipeline.executions import Execution, Step
from pipeline.registry import Registry
from pipeline.target import Target
from tests.pipeline.conftest import register
from tests.pipeline.test_executions import definition, fail

REVIEWS = data.Reviews("the sample", "s3://b/data/x/", "5" * 64, {"Epochs": "4"}, is_sample=True)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Stands for the SDK: the definition that a test puts in."""
    texts = [definition(fail("Stop"))]
    monkeypatch.setattr(
        compilation, "compile_definition", lambda *_: compilation.Compiled(texts[-1])
    )
    yield texts


def ask(target: Target, root: Path, *assignments: str, data: str | None = None) -> Any:
    return run.run(target, run.Request(data, assignments, approve=False), root, io.StringIO())


def test_what_the_user_gives_comes_before_the_recipe(target: Target, tmp_path: Path) -> None:
    given = {"Epochs": "9", "ExpectedDataSha256": "any"}
    parameters = run._parameters(target, REVIEWS, given, tmp_path)
    assert parameters == {
        "Epochs": "9",
        "InputDataUrl": "s3://b/data/x/",
        "ExpectedDataSha256": "any",
        "SourceCommit": "unknown",
    }


def test_a_machine_with_a_gpu_gets_the_cuda_image(target: Target, tmp_path: Path) -> None:
    given = {"TrainingInstanceType": "ml.g5.xlarge"}
    uri = run._parameters(target, REVIEWS, given, tmp_path)["TrainingImageUri"]
    assert uri.endswith("/pytorch:2.13-cu133-amzn2023-sagemaker")


def test_an_unknown_parameter_is_refused_before_anything_else(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "resolve", None)
    with pytest.raises(ParameterError, match="unknown parameter 'Epoch'"):
        ask(target, tmp_path, "Epoch=3")


def test_data_given_twice_is_refused(target: Target, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="either --data or --parameter InputDataUrl"):
        ask(target, tmp_path, "InputDataUrl=s3://b/", data="imdb")


def test_missing_data_starts_nothing(target: Target, tmp_path: Path, compiled: list[str]) -> None:
    with pytest.raises(DataError, match="no reviews at"):
        ask(target, tmp_path, data=str(tmp_path / "gone.tar.gz"))
    assert target.client("sagemaker").list_pipelines()["PipelineSummaries"] == []


def test_a_bucket_that_the_role_may_not_read_is_refused_with_how_to_let_it(target: Target) -> None:
    account = replace(target.account, readable_buckets=("own", "let"))
    run.check_readable(account, {"InputDataUrl": "s3://let/reviews/", "Epochs": "4"})
    with pytest.raises(DataError, match=r"^CounterfactualDataUrl: .* --parameter DataBucket=other"):
        run.check_readable(account, {"CounterfactualDataUrl": "s3://other/pairs.tsv"})


def test_a_role_that_is_nobodys_business_reads_what_it_may(target: Target) -> None:
    run.check_readable(target.account, {"InputDataUrl": "s3://other/reviews/"})


def test_a_failed_run_registers_nothing(
    target: Target, tmp_path: Path, compiled: list[str]
) -> None:
    text = definition(fail("AccuracyTooLow")).replace(
        '"Parameters": [',
        '"Parameters": [{"Name": "InputDataUrl", "Type": "String"},'
        ' {"Name": "ExpectedDataSha256", "Type": "String"},'
        ' {"Name": "SourceCommit", "Type": "String"}, ',
    )
    compiled.append(text)
    with pytest.raises(ExecutionError, match="step AccuracyTooLow failed: said hello"):
        ask(target, tmp_path, "InputDataUrl=s3://b/")
    assert Registry(target).versions() == []


def test_the_version_is_the_one_that_this_run_registered(target: Target) -> None:
    arns = []
    for _ in range(2):
        number = register(target)
        arns.append(Registry(target).find(number).arn)
    steps = [make_step("Register", metadata={"RegisterModel": {"Arn": arns[0]}})]
    assert run._registered(Registry(target), steps).number == 1


def test_a_run_that_registered_nothing_is_no_success(target: Target) -> None:
    with pytest.raises(ExecutionError, match="registered no version"):
        run._registered(Registry(target), [make_step("Train")])


def make_step(name: str, status: str = "Succeeded", reason: str = "", **more: Any) -> Step:
    values: dict[str, Any] = {"seconds": 1.0, "cached_from": "", "metadata": {}, "log": None}
    return Step(name=name, status=status, reason=reason, **(values | more))


def make_execution(status: str, reason: str = "") -> Execution:
    return Execution("arn/execution/abc", status, reason, datetime(2026, 1, 1, tzinfo=UTC), 1.0)


def test_a_stopped_run_says_so() -> None:
    assert run.failure(make_execution("Stopped", "by hand"), []) == (
        "execution abc was stopped: by hand"
    )


def test_a_reason_of_many_lines_becomes_one() -> None:
    steps = [make_step("Train", "Failed", "AlgorithmError:\n  loss is\n  not a number.")]
    assert run.failure(make_execution("Failed"), steps) == (
        "step Train failed: AlgorithmError: loss is not a number"
    )
