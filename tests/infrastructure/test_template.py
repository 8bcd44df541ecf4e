from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_model.app import DETAIL_TYPES
from deploy_model.settings import Settings as DeploySettings
from deploy_model.variants import VARIANT_NAME
from predict_api.settings import Settings as PredictSettings
from predict_api.throttle import BURST, RATE_PER_S

from pipeline.stack.requests import TEMPLATE_BYTES, compact
from tests.infrastructure.template import (
    PATH,
    listed,
    present,
    resolved,
    resources,
    statements,
    template,
)

ROLES = resources("AWS::IAM::Role")
# Actions that AWS knows no resources for: "*" is the only thing to write.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
WITHOUT_RESOURCES = {
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "sagemaker:ListModels",
    "sagemaker:ListEndpointConfigs",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
}


def role_statements(name: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in ROLES[name]["Policies"]
        for statement in statements(policy["PolicyDocument"])
    ]


def role_actions(name: str) -> set[str]:
    return {action for one in role_statements(name) for action in listed(one["Action"])}


def test_the_template_fits_into_the_request_that_carries_it() -> None:
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
    assert len(compact(PATH.read_text("utf-8")).encode()) <= TEMPLATE_BYTES == 51_200


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_do_everything_of_anything(role: str) -> None:
    assert not [action for action in role_actions(role) if "*" in action]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_names_its_resources_where_there_are_any(role: str) -> None:
    for statement in role_statements(role):
        if statement["Resource"] == "*":
            assert set(listed(statement["Action"])) <= WITHOUT_RESOURCES


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_taken_by_one_service_for_this_account_alone(role: str) -> None:
    (statement,) = ROLES[role]["AssumeRolePolicyDocument"]["Statement"]
    assert list(statement["Principal"]) == ["Service"]
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    }


def test_the_deploy_function_may_do_what_scaling_asks_its_caller_for() -> None:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-prerequisites.html
    assert role_actions("DeployRole") >= {
        "sagemaker:UpdateEndpointWeightsAndCapacities",
        "cloudwatch:PutMetricAlarm",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:DeleteAlarms",
    }


def test_sagemaker_may_look_at_the_alarms_that_roll_an_endpoint_back() -> None:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
    (looking,) = [
        one
        for one in role_statements("ExecutionRole")
        if "cloudwatch:DescribeAlarms" in listed(one["Action"])
    ]
    pattern = looking["Resource"]["Fn::Sub"].rpartition(":alarm:")[2]
    names = [
        one["AlarmName"]["Fn::Sub"]
        for name, one in resources("AWS::CloudWatch::Alarm").items()
        if name.startswith("Endpoint")
    ]
    assert len(names) == 2
    assert all(fnmatchcase(name, pattern) for name in names)


def test_a_run_may_write_its_results_and_nothing_that_is_run() -> None:
    (writing,) = [s for s in role_statements("ExecutionRole") if "s3:PutObject" in s["Action"]]
    folders = {one["Fn::Sub"].partition("/")[2] for one in writing["Resource"]}
    assert folders == {"runs/*", "checkpoints/*", "evaluations/*", "data-capture/*"}


def test_a_run_may_read_another_bucket_where_one_is_named_and_write_nothing_there() -> None:
    policy = ROLES["ExecutionRole"]["Policies"][0]["PolicyDocument"]
    conditional = [one["Fn::If"] for one in policy["Statement"] if "Fn::If" in one]
    (reading,) = [one for condition, one, _ in conditional if condition == "HasDataBucket"]
    assert reading["Action"] == ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"]
    assert {one["Fn::Sub"] for one in reading["Resource"]} == {
        "arn:${AWS::Partition}:s3:::${DataBucket}",
        "arn:${AWS::Partition}:s3:::${DataBucket}/*",
    }


def test_a_missing_object_is_told_from_a_forbidden_one_by_the_deploy_function() -> None:
    # GetObject is answered 404 only to those who may list the bucket, and it sends no s3:prefix
    listing = [s for s in role_statements("DeployRole") if "s3:ListBucket" in listed(s["Action"])]
    assert listing
    assert not [statement for statement in listing if "Condition" in statement]


def test_a_role_is_passed_to_sagemaker_alone_and_by_name() -> None:
    passing = {
        role: statement
        for role in ROLES
        for statement in role_statements(role)
        if "iam:PassRole" in listed(statement["Action"])
    }
    assert set(passing) == {"DeployRole", "ExecutionRole"}
    for statement in passing.values():
        assert statement["Condition"] == {
            "StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}
        }
        assert "*" not in json.dumps(statement["Resource"])


def test_the_api_may_ask_one_endpoint_write_its_logs_and_trace() -> None:
    unconditional = [
        one
        for one in ROLES["PredictRole"]["Policies"][0]["PolicyDocument"]["Statement"]
        if "Fn::If" not in one
    ]
    assert [one["Sid"] for one in unconditional] == ["AskTheEndpoint", "Log", "Trace"]
    assert unconditional[0]["Action"] == "sagemaker:InvokeEndpoint"
    assert unconditional[0]["Resource"]["Fn::Sub"].endswith(":endpoint/${Name}")


def test_the_api_may_use_the_key_only_where_it_keeps_feedback() -> None:
    policy = ROLES["PredictRole"]["Policies"][0]["PolicyDocument"]
    conditional = [one["Fn::If"] for one in policy["Statement"] if "Fn::If" in one]
    (using,) = [condition for condition, one, _ in conditional if "kms" in one["Action"]]
    assert template()["Conditions"][using] == {
        "Fn::And": [{"Condition": "HasKey"}, {"Condition": "HasFeedback"}]
    }


@pytest.mark.parametrize("bucket", resources("AWS::S3::Bucket"))
def test_a_bucket_is_closed_encrypted_and_versioned(bucket: str) -> None:
    properties = resources("AWS::S3::Bucket")[bucket]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "BucketEncryption" in properties


@pytest.mark.parametrize("bucket", resources("AWS::S3::Bucket"))
def test_a_bucket_speaks_tls_only(bucket: str) -> None:
    (policy,) = [
        one
        for one in resources("AWS::S3::BucketPolicy").values()
        if one["Bucket"] == {"Ref": bucket}
    ]
    (deny,) = [one for one in statements(policy["PolicyDocument"]) if one["Sid"] == "TlsOnly"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
    assert len(deny["Resource"]) == 2
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_website_is_read_through_its_distribution_alone() -> None:
    document = resources("AWS::S3::BucketPolicy")["WebsiteBucketPolicy"]["PolicyDocument"]
    (allow,) = [one for one in statements(document) if one["Effect"] == "Allow"]
    assert allow["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert allow["Action"] == "s3:GetObject"
    arn = allow["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"]
    assert arn.endswith(":distribution/${Distribution}")
    (config,) = resources("AWS::CloudFront::Distribution").values()
    website = config["DistributionConfig"]["Origins"][0]
    assert website["OriginAccessControlId"] == {"Fn::GetAtt": "OriginAccessControl.Id"}


def test_every_event_has_a_dead_letter_queue() -> None:
    for rule in resources("AWS::Events::Rule").values():
        for target in rule["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": "DeadLetters.Arn"}}
            assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 3600
    (config,) = resources("AWS::Lambda::EventInvokeConfig").values()
    failure = config["DestinationConfig"]["OnFailure"]
    assert failure == {"Destination": {"Fn::GetAtt": "DeadLetters.Arn"}}


def test_the_queue_takes_letters_from_every_rule() -> None:
    (policy,) = resources("AWS::SQS::QueuePolicy").values()
    (rules, *_) = statements(policy["PolicyDocument"])
    sources = rules["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert {one["Fn::GetAtt"].split(".")[0] for one in sources} == set(
        resources("AWS::Events::Rule")
    )


def test_one_dead_letter_is_an_alarm() -> None:
    alarm = resources("AWS::CloudWatch::Alarm")["DeadLettersAlarm"]
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (1, 1)
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.parametrize("alarm", resources("AWS::CloudWatch::Alarm"))
def test_every_alarm_tells_the_topic(alarm: str) -> None:
    assert resources("AWS::CloudWatch::Alarm")[alarm]["AlarmActions"] == [{"Ref": "AlarmTopic"}]


def test_a_roll_out_is_guarded_by_the_errors_and_the_latency_of_the_variant_it_changes() -> None:
    alarms = resources("AWS::CloudWatch::Alarm")
    watched = alarms["EndpointErrorsAlarm"], alarms["EndpointLatencyAlarm"]
    assert [one["MetricName"] for one in watched] == ["Invocation5XXErrors", "ModelLatency"]
    for alarm in watched:
        dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
        assert dimensions == {"EndpointName": {"Ref": "Name"}, "VariantName": VARIANT_NAME}
    (function,) = [
        one["Environment"]["Variables"]
        for one in resources("AWS::Lambda::Function").values()
        if "ROLLBACK_ALARM_NAMES" in one["Environment"]["Variables"]
    ]
    _, names = function["ROLLBACK_ALARM_NAMES"]["Fn::If"][1]["Fn::Join"]
    assert names == [{"Ref": "EndpointErrorsAlarm"}, {"Ref": "EndpointLatencyAlarm"}]
    assert function["ROLLBACK_ALARM_NAMES"]["Fn::If"][2] == {"Ref": "EndpointErrorsAlarm"}


def test_the_alarm_of_errors_wakes_the_deploy_function() -> None:
    pattern = resolved(resources("AWS::Events::Rule")["AlarmRule"], {})["EventPattern"]
    assert pattern["detail-type"][0] in DETAIL_TYPES
    assert pattern["resources"] == [
        "arn:aws:cloudwatch:us-east-1:123456789012:alarm:sentiment-endpoint-5xx"
    ]


@pytest.mark.parametrize("rule", resources("AWS::Events::Rule"))
def test_every_rule_may_call_the_function_that_it_wakes(rule: str) -> None:
    let = [one["SourceArn"] for one in resources("AWS::Lambda::Permission").values()]
    assert {"Fn::GetAtt": f"{rule}.Arn"} in let


def test_the_default_has_no_more_alarms_than_cost_nothing() -> None:
    always = [
        one
        for one in template()["Resources"].values()
        if one["Type"] == "AWS::CloudWatch::Alarm" and "Condition" not in one
    ]
    assert len(always) <= 10


@pytest.mark.parametrize("group", resources("AWS::Logs::LogGroup"))
def test_logs_are_kept_for_a_set_time(group: str) -> None:
    properties = resources("AWS::Logs::LogGroup")[group]
    assert properties["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_what_the_endpoint_prints_is_kept_no_longer_and_goes_with_the_stack() -> None:
    names = [one["LogGroupName"] for one in resources("AWS::Logs::LogGroup").values()]
    assert {"Fn::Sub": "/aws/sagemaker/Endpoints/${Name}"} in names


def test_every_function_has_a_log_group_and_a_bound() -> None:
    groups = json.dumps(resources("AWS::Logs::LogGroup"))
    functions = resources("AWS::Lambda::Function")
    assert len(functions) == 2
    for name, function in functions.items():
        assert f"/aws/lambda/${{{name}}}" in groups
        assert "ReservedConcurrentExecutions" in function
        assert function["TracingConfig"] == {"Mode": "Active"}


def test_an_account_with_few_executions_can_do_without_a_reserve() -> None:
    assert template()["Conditions"]["Reserves"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "PredictConcurrency"}, "0"]}]
    }
    for function in resources("AWS::Lambda::Function").values():
        condition, _, otherwise = function["ReservedConcurrentExecutions"]["Fn::If"]
        assert (condition, otherwise) == ("Reserves", {"Ref": "AWS::NoValue"})


def test_a_budget_names_nobody_whose_change_would_make_it_anew() -> None:
    (budget,) = resources("AWS::Budgets::Budget").values()
    subscribers = [one["Subscribers"] for one in budget["NotificationsWithSubscribers"]]
    assert subscribers == [[{"SubscriptionType": "SNS", "Address": {"Ref": "AlarmTopic"}}]] * 2
    (policy,) = resources("AWS::SNS::TopicPolicy").values()
    (allow,) = statements(policy["PolicyDocument"])
    assert "budgets.amazonaws.com" in allow["Principal"]["Service"]


def test_the_api_is_throttled() -> None:
    (stage,) = resources("AWS::ApiGatewayV2::Stage").values()
    limits = stage["DefaultRouteSettings"]
    assert limits["ThrottlingRateLimit"] == {"Ref": "RequestsPerSecond"}
    assert limits["ThrottlingBurstLimit"] == {"Ref": "BurstRequests"}


def test_the_api_is_throttled_where_the_local_one_is() -> None:
    parameters = template()["Parameters"]
    assert parameters["RequestsPerSecond"]["Default"] == RATE_PER_S
    assert parameters["BurstRequests"]["Default"] == BURST
    # or some of a burst would find no function to answer them
    assert parameters["PredictConcurrency"]["Default"] >= BURST


def test_the_access_log_tells_nothing_of_the_reader() -> None:
    (stage,) = resources("AWS::ApiGatewayV2::Stage").values()
    fields = json.loads(stage["AccessLogSettings"]["Format"])
    assert "request_id" in fields
    assert not {"$context.identity.sourceIp", "$context.path"} & set(fields.values())


def test_the_firewall_bounds_each_address_where_it_is_wanted() -> None:
    (firewall,) = resources("AWS::WAFv2::WebACL").values()
    (rule,) = firewall["Rules"]
    assert rule["Statement"]["RateBasedStatement"]["AggregateKeyType"] == "IP"
    assert rule["Action"]["Block"]["CustomResponse"]["ResponseCode"] == 429


def test_the_distribution_adds_the_headers_that_the_site_was_tested_with() -> None:
    wanted = json.loads((PATH.parents[1] / "website" / "headers.json").read_text("utf-8"))
    (policy,) = resources("AWS::CloudFront::ResponseHeadersPolicy").values()
    config = policy["ResponseHeadersPolicyConfig"]
    security, custom = config["SecurityHeadersConfig"], config["CustomHeadersConfig"]["Items"]
    transport = security["StrictTransportSecurity"]
    given = {
        "Content-Security-Policy": security["ContentSecurityPolicy"]["ContentSecurityPolicy"],
        "X-Content-Type-Options": "nosniff" if security["ContentTypeOptions"] else "",
        "X-Frame-Options": security["FrameOptions"]["FrameOption"],
        "Referrer-Policy": security["ReferrerPolicy"]["ReferrerPolicy"],
        "Strict-Transport-Security": f"max-age={transport['AccessControlMaxAgeSec']}"
        + ("; includeSubDomains" if transport["IncludeSubdomains"] else ""),
        **{one["Header"]: one["Value"] for one in custom},
    }
    assert given == wanted


def test_a_firewall_of_less_than_ten_requests_is_refused_before_anything_is_made() -> None:
    rule = template()["Rules"]["FirewallCountsFromTen"]
    (assertion,) = [one["Assert"] for one in rule["Assertions"]]
    refused, value = assertion["Fn::Not"][0]["Fn::Contains"]
    assert (refused, value) == ([str(n) for n in range(1, 10)], {"Ref": "WafRequestsPer5Minutes"})


def test_no_parameter_makes_the_images_anew() -> None:
    # it cannot be changed: the repository would be replaced, and its name is taken
    (repository,) = resources("AWS::ECR::Repository").values()
    assert repository["EncryptionConfiguration"] == {"EncryptionType": "AES256"}


def test_an_image_tag_never_moves_and_is_scanned() -> None:
    (repository,) = resources("AWS::ECR::Repository").values()
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}


def test_the_image_is_built_on_its_base_by_digest_and_says_so(tmp_path: Path) -> None:
    (project,) = resources("AWS::CodeBuild::Project").values()
    commands = yaml.safe_load(project["Source"]["BuildSpec"])["phases"]["build"]["commands"]
    by_digest = f"public.ecr.aws/docker/library/python@sha256:{'5' * 64}"
    answers = {
        "docker": f'[ "$1 $2" = "image inspect" ] && echo {by_digest} || true',
        "aws": "true",
    }
    for tool, answer in answers.items():  # CodeBuild's, which write down what they are asked
        path = tmp_path / tool
        path.write_text(f'#!/bin/sh\necho {tool} "$@" >> {tmp_path}/asked\n{answer}\n')
        path.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "REPOSITORY": "1.dkr.ecr.us-east-1.amazonaws.com/i",
        "IMAGE_TAG": "t",
    }
    script = "\n".join(["set -e", *commands])
    subprocess.run(["/bin/bash", "-c", script], env=environment, cwd=PATH.parents[1], check=True)  # noqa: S603
    asked = (tmp_path / "asked").read_text().splitlines()
    (pulled,) = [line for line in asked if line.startswith("docker pull")]
    assert re.search(r" public\.ecr\.aws/\S+/python:3\.12\.\d+-slim-\w+$", pulled)
    (built,) = [line for line in asked if line.startswith("docker build")]
    assert f"--build-arg BASE={by_digest}" in built
    assert f"--label org.opencontainers.image.base.name={by_digest}" in built
    assert asked[-1] == "docker push 1.dkr.ecr.us-east-1.amazonaws.com/i:t"


def test_the_functions_are_given_settings_that_they_know() -> None:
    functions = resources("AWS::Lambda::Function")
    predict = set(functions["PredictFunction"]["Environment"]["Variables"])
    assert predict <= {field.name.upper() for field in dataclasses.fields(PredictSettings)}
    deploy = set(functions["DeployFunction"]["Environment"]["Variables"])
    assert deploy == {field.name.upper() for field in dataclasses.fields(DeploySettings)}


def test_the_functions_have_the_time_that_they_count_on() -> None:
    functions = resources("AWS::Lambda::Function")
    for function, key in (("PredictFunction", "FUNCTION_TIMEOUT_S"), ("DeployFunction", "LEASE_S")):
        properties = functions[function]
        assert properties["Environment"]["Variables"][key] == str(properties["Timeout"])


def test_nothing_that_holds_data_outlives_the_stack() -> None:
    kept = ("AWS::S3::Bucket", "AWS::ECR::Repository", "AWS::Logs::LogGroup", "AWS::KMS::Key")
    for name, resource in template()["Resources"].items():
        if resource["Type"] in kept:
            assert resource["DeletionPolicy"] == "Delete", name


# parameters that add or take away resources, and what comes with each
OPTIONS = {
    "default": ({}, set()),
    "firewall": ({"WafRequestsPer5Minutes": "500"}, {"Firewall"}),
    "key": ({"EncryptWithKmsKey": "true"}, {"Key"}),
    "mail": ({"AlarmEmail": "me@example.org"}, {"AlarmSubscription"}),
    "budget": (
        {"AlarmEmail": "me@example.org", "MonthlyBudgetUsd": "20"},
        {"AlarmSubscription", "Budget"},
    ),
    "silence": ({"AlarmOnSilence": "true"}, {"SilenceAlarm"}),
    "another bucket": ({"DataBucket": "my-reviews"}, set()),
    "no reserve": ({"PredictConcurrency": "0"}, set()),
    "feedback": ({"KeepFeedback": "true"}, set()),
    "encrypted feedback": ({"KeepFeedback": "true", "EncryptWithKmsKey": "true"}, {"Key"}),
    "machines": (
        {"EndpointMode": "RealTime", "ShadowVersion": "3"},
        {"EndpointLatencyAlarm"},
    ),
    "code": (
        {
            "PredictCodeKey": "source/a.zip",
            "DeployCodeKey": "source/b.zip",
            "ImageUri": f"image@sha256:{'0' * 64}",
        },
        set(),
    ),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_with_and_without_each_option_everything_refers_to_what_is_there(option: str) -> None:
    given, more = OPTIONS[option]
    made = present(given)
    assert made.keys() - present({}).keys() == more
    for name, resource in made.items():
        properties = json.dumps(resolved(resource["Properties"], given))
        assert not re.search(r'"(Ref|Fn::\w+)"', properties), name
        assert set(listed(resource.get("DependsOn", []))) <= made.keys()
    outputs = {name: resolved(one["Value"], given) for name, one in template()["Outputs"].items()}
    assert all(outputs.values())


def test_what_an_option_turns_off_is_told_to_nobody() -> None:
    off = resolved(resources("AWS::Lambda::Function")["DeployFunction"], {})
    on = resolved(resources("AWS::Lambda::Function")["DeployFunction"], OPTIONS["key"][0])
    assert off["Environment"]["Variables"]["KMS_KEY_ARN"] == ""
    assert on["Environment"]["Variables"]["KMS_KEY_ARN"].startswith("arn:aws:kms:")
    (distribution,) = resources("AWS::CloudFront::Distribution").values()
    assert "WebACLId" not in resolved(distribution, {})["DistributionConfig"]
    guarded = resolved(distribution, OPTIONS["firewall"][0])["DistributionConfig"]
    assert guarded["WebACLId"].startswith("arn:aws:wafv2:")


def test_every_test_that_the_guide_names_is_there() -> None:
    root = PATH.parents[1]
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", (root / "docs" / "aws.md").read_text("utf-8")))
    assert len(named) >= 10
    assert [name for name in named if not (root / name).is_file()] == []
