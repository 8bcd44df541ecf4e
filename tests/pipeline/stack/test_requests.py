from __future__ import annotations

import json
from argparse import Namespace
from functools import cache

import botocore.session
import pytest
from botocore.validate import ParamValidator

from pipeline.packages import function_package, image_source, image_tag
from pipeline.settings import ROOT, Settings
from pipeline.stack import commands, costs, removal, requests
from pipeline.stack.deployment import wish
from pipeline.stack.requests import Request
from tests.infrastructure.template import present

WISH = wish(ROOT, "sentiment-dev", "dev", "abc", {"LogRetentionDays": "7"})
PACKAGE_BYTES = 5 * 1024 * 1024
ALL = [
    WISH.change_set(None),
    requests.execute_change_set("stack", "change"),
    requests.delete_change_set("stack", "change"),
    requests.delete_stack("stack"),
    requests.put_package("bucket", "key", b""),
    requests.start_build("project", "bucket", "source.zip", "tag"),
    *requests.website_files("bucket", WISH.website),
    requests.invalidate("E1", "once"),
    requests.resume_deploying("function", WISH.deploy_executions),
    requests.resume_deploying("function", None),
    requests.begin_publishing("bucket"),
    requests.end_publishing("bucket"),
    removal.stop_deploying("function"),
    removal.stop_scaling("sentiment"),
    removal.sagemaker("DeleteEndpoint", EndpointName="sentiment"),
    removal.sagemaker("DeleteEndpointConfig", EndpointConfigName="sentiment"),
    removal.sagemaker("DeleteModel", ModelName="sentiment"),
    removal.sagemaker("DeletePipeline", PipelineName="sentiment", ClientRequestToken="0" * 32),
    removal.sagemaker("DeleteModelPackage", ModelPackageName="sentiment"),
    removal.delete_objects("bucket", [{"Key": "key", "VersionId": "1"}]),
]


@cache
def model(service: str) -> botocore.model.ServiceModel:
    return botocore.session.get_session().get_service_model(service)


@pytest.mark.parametrize("request_", ALL, ids=lambda one: f"{one.service}-{one.operation}")
def test_every_request_is_one_that_aws_takes(request_: Request) -> None:
    shape = model(request_.service).operation_model(request_.operation).input_shape
    report = ParamValidator().validate(dict(request_.parameters), shape)
    assert not report.has_errors(), report.generate_report()


def test_a_change_set_is_named_by_what_it_holds() -> None:
    again = wish(ROOT, "sentiment-dev", "dev", "abc", {"LogRetentionDays": "7"})
    other = wish(ROOT, "sentiment-dev", "dev", "abc", {"LogRetentionDays": "30"})
    assert again.change_set(None) == WISH.change_set(None)
    assert other.change_set(None) != WISH.change_set(None)


def test_everything_is_tagged_with_project_stage_and_commit() -> None:
    tags = {one["Key"]: one["Value"] for one in WISH.change_set(None).parameters["Tags"]}
    assert tags == {
        "sagemaker:project-name": "sentiment-dev",
        "sagemaker:deployment-stage": "dev",
        "commit": "abc",
    }


@pytest.mark.parametrize("name", ["predict_api", "deploy_model"])
def test_a_package_is_the_same_bytes_each_time_and_small(name: str) -> None:
    first, second = function_package(name, ROOT), function_package(name, ROOT)
    assert first == second
    assert len(first.content) <= PACKAGE_BYTES


def test_the_image_is_named_by_what_it_is_built_from() -> None:
    source = image_source(ROOT)
    assert source.key == f"source/image/{image_tag(ROOT)}.zip"
    assert image_source(ROOT) == source


def test_the_page_is_published_after_what_it_asks_for() -> None:
    assert requests.website_files("b", WISH.website)[-1].parameters["Key"] == "index.html"


def test_the_default_costs_next_to_nothing_while_nobody_uses_it() -> None:
    usd = costs.total(costs.monthly({}))
    assert usd is not None
    assert usd < 0.25


def test_machines_cost_by_the_hour() -> None:
    bill = costs.monthly({"EndpointMode": "RealTime", "InstanceCount": "2"})
    (endpoint,) = [line for line in bill if line.what == "endpoint"]
    assert endpoint.usd == pytest.approx(2 * 730 * 0.115)


@pytest.mark.parametrize(
    ("option", "more"),
    [
        ({"EncryptWithKmsKey": "true"}, 1),
        ({"WafRequestsPer5Minutes": "500"}, 6),
        ({"ShadowVersion": "3"}, 730 * 0.115),
    ],
)
def test_each_option_that_costs_is_on_the_bill(option: dict[str, str], more: float) -> None:
    machines = {"EndpointMode": "RealTime"}
    plain = costs.total(costs.monthly(machines))
    assert plain is not None
    assert costs.total(costs.monthly({**machines, **option})) == pytest.approx(plain + more)


@pytest.mark.parametrize(("mode", "of_autoscaling"), [("Serverless", 0), ("RealTime", 2)])
@pytest.mark.parametrize("silence", ["false", "true"])
def test_the_bill_counts_the_alarms_that_are_made(
    mode: str, of_autoscaling: int, silence: str
) -> None:
    parameters = {"EndpointMode": mode, "AlarmOnSilence": silence}
    made = [one for one in present(parameters).values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    (line,) = [one for one in costs.monthly(parameters) if one.what == "alarms"]
    assert line.how.startswith(f"{len(made) + of_autoscaling}, of 10 ")


def test_machines_that_autoscaling_may_add_are_on_a_bill_of_their_own() -> None:
    assert costs.scaled_out({}) == []
    (more,) = costs.scaled_out({"EndpointMode": "RealTime", "MaxInstanceCount": "5"})
    assert more.usd == pytest.approx(3 * 730 * 0.115)


def test_what_is_captured_costs_by_its_share() -> None:
    bill = costs.per_million({"EndpointMode": "RealTime", "DataCapturePercent": "50"})
    (captured,) = [line for line in bill if line.what == "captured requests"]
    assert captured.usd == pytest.approx(0.5 * 4 * 0.023)  # of 4 GB


def test_a_machine_without_a_known_price_costs_something_unknown_and_not_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unknown = ["EndpointMode=RealTime", "InstanceType=ml.x9.large"]
    commands.costs(Namespace(parameter=unknown, json=True), Settings())
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["month_unused_usd"] is None
    assert document["million_predictions_usd"] > 0
    commands.costs(Namespace(parameter=unknown, json=False), Settings())
    assert "unknown  2 ml.x9.large: not in the price table" in capsys.readouterr().out


def test_the_prices_say_as_of_when_and_from_where() -> None:
    table = costs.price_table()
    assert table["as_of"] == "2026-11-24"
    assert "aws.amazon.com" in table["source"]


def test_a_function_that_reserves_nothing_is_let_run_without_a_reserve() -> None:
    assert requests.resume_deploying("f", WISH.deploy_executions).parameters == {
        "FunctionName": "f",
        "ReservedConcurrentExecutions": 5,
    }
    assert requests.resume_deploying("f", None).operation == "DeleteFunctionConcurrency"
