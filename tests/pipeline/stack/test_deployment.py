from __future__ import annotations

import io
import json
import zipfile
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from pipeline.errors import SettingsError, StackError
from pipeline.settings import Settings
from pipeline.stack import commands
from pipeline.stack.deployment import Deployment
from pipeline.stack.policies import engineer
from pipeline.stack.removal import Remover, stop_scaling
from pipeline.target import _deployed
from tests.infrastructure.template import template
from tests.pipeline.stack.conftest import NAME, OUTPUTS, Cloud
from tests.pipeline.stack.evaluation import allows
from tests.pipeline.stack.remains import unproved

# moto tells which resources of the template it does not make; conftest.py makes those that matter
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse .* not supported by moto")
# The kinds of the template that this account is asked for after a removal, below
SEEN_TO_GO = {
    "AWS::ECR::Repository",
    "AWS::Events::Rule",
    "AWS::IAM::Role",
    "AWS::KMS::Key",
    "AWS::Lambda::Function",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
}


def test_a_plan_shows_every_resource_and_leaves_nothing_behind(cloud: Cloud) -> None:
    changes = cloud.deployment().plan()
    assert changes is not None
    assert {"ArtifactBucket", "PredictFunction", "DeployRole"} <= {one.resource for one in changes}
    stacks = cloud.target.client("cloudformation").list_stacks()["StackSummaries"]
    assert [one for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"] == []


def test_a_first_deployment_makes_uploads_builds_and_publishes_in_this_order(cloud: Cloud) -> None:
    state = cloud.deployment().deploy()
    assert state.status == "UPDATE_COMPLETE"
    order = [
        one for one in cloud.changes() if one not in ("PutObject", "PutImage")
    ]  # the build pushes
    assert order == [
        "CreateChangeSet",
        "ExecuteChangeSet",
        "StartBuild",
        "CreateChangeSet",
        "ExecuteChangeSet",
        "CreateInvalidation",
        "DeleteObject",
    ]
    functions = cloud.target.client("lambda")
    code = functions.get_function(FunctionName=f"{NAME}-deploy-model")["Configuration"]
    assert code["Handler"] == "deploy_model.app.handler"
    assert code["Environment"]["Variables"]["ARTIFACT_BUCKET"] == OUTPUTS["ArtifactBucket"]
    assert state.parameters["ImageUri"].startswith(f"{OUTPUTS['ImageRepository']}@sha256:")


def test_the_website_is_told_where_its_api_is(cloud: Cloud) -> None:
    cloud.deployment(KeepFeedback="true").deploy()
    s3 = cloud.target.client("s3")
    config = s3.get_object(Bucket=OUTPUTS["WebsiteBucket"], Key="config.json")
    document = json.loads(config["Body"].read())
    assert (document["api"], document["feedback"]) == ("/api/", True)
    page = s3.head_object(Bucket=OUTPUTS["WebsiteBucket"], Key="index.html")
    assert page["ContentType"] == "text/html; charset=utf-8"


def test_what_is_uploaded_is_what_lambda_runs(cloud: Cloud) -> None:
    state = cloud.deployment().deploy()
    body = cloud.target.client("s3").get_object(
        Bucket=OUTPUTS["ArtifactBucket"], Key=state.parameters["PredictCodeKey"]
    )["Body"]
    names = set(zipfile.ZipFile(io.BytesIO(body.read())).namelist())
    assert {"predict_api/app.py", "predict_api/openapi.json"} <= names
    assert "aws_lambda_powertools/__init__.py" in names
    assert not [name for name in names if name.startswith("boto")]


def test_deploying_again_uploads_and_builds_nothing(cloud: Cloud) -> None:
    cloud.deployment().deploy()
    cloud.changes()
    cloud.deployment().deploy()
    assert not {"PutObject", "StartBuild", "CreateInvalidation"} & set(cloud.changes())


def test_a_deployment_killed_after_any_change_goes_on_where_it_stood(cloud: Cloud) -> None:
    class Killed(BaseException):
        pass

    def kill(model: object, **_: object) -> None:
        name = getattr(model, "name", "")
        if name in left:
            left.remove(name)
            raise Killed

    left = ["ExecuteChangeSet", "StartBuild", "CreateInvalidation", "DeleteObject", "PutObject"]
    for service in ("cloudformation", "codebuild", "cloudfront", "s3"):
        cloud.target.client(service).meta.events.register("before-call", kill)
    for _ in range(len(left) + 1):
        try:
            state = cloud.deployment().deploy()
        except Killed:
            continue
    assert left == []
    assert state.status == "UPDATE_COMPLETE"
    pages = cloud.target.client("s3").list_objects_v2(Bucket=OUTPUTS["WebsiteBucket"])
    assert {"index.html", "app.js", "config.json"} <= {one["Key"] for one in pages["Contents"]}
    told = cloud.target.client("cloudfront").list_invalidations(DistributionId=cloud.distribution)
    assert told["InvalidationList"]["Quantity"] > 0


def test_the_deploy_function_runs_again_where_a_removal_was_interrupted_before(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def status() -> str:
        commands.status(Namespace(json=False), Settings())
        return capsys.readouterr().out

    deployment, function = cloud.deployment(), f"{NAME}-deploy-model"
    monkeypatch.setattr(commands, "_stack", lambda *_: (cloud.target, deployment.stack))
    deployment.deploy()
    functions = cloud.target.client("lambda")
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    assert "deploy function              stopped" in status()
    cloud.deployment().deploy()
    found = functions.get_function_concurrency(FunctionName=function)
    assert found["ReservedConcurrentExecutions"] == 5
    assert "stopped" not in status()


def test_an_engineer_may_ask_for_all_that_deploying_and_removing_ask_for(cloud: Cloud) -> None:
    deployment = cloud.deployment()
    cloud.asked.clear()
    deployment.deploy()
    asked = {*cloud.asked}
    register_and_serve(cloud)
    write_objects(cloud)
    cloud.asked.clear()
    cloud.deployment(LogRetentionDays="7").deploy()
    remover = Remover(cloud.target, deployment.stack, cloud.talk, sleep=lambda _: None)
    remover.remove()
    asked |= cloud.asked
    named = {arn.rpartition(":")[2] for _, arn in asked}
    assert {f"{NAME}-deploy-model", f"endpoint/{NAME}", f"project/{NAME}-inference"} <= named
    assert ("application-autoscaling:DeregisterScalableTarget", "*") in asked
    policy = engineer(cloud.target.account)
    assert {one for one in asked if not allows(policy, *one)} == set()


def test_an_endpoint_that_is_not_scaled_is_removed_without_a_word_to_autoscaling(
    cloud: Cloud,
) -> None:
    deployment = cloud.deployment()
    deployment.deploy()
    register_and_serve(cloud)
    target = dict(stop_scaling(NAME).parameters)
    cloud.target.client("application-autoscaling").deregister_scalable_target(**target)
    removal = Remover(cloud.target, deployment.stack, cloud.talk).plan()
    assert removal is not None
    kinds = {item.kind for item in removal.items}
    assert "endpoint" in kinds
    assert "scaling of" not in kinds


def test_a_parameter_is_kept_by_later_deployments(cloud: Cloud) -> None:
    cloud.deployment(LogRetentionDays="7").deploy()
    assert cloud.deployment().deploy().parameters["LogRetentionDays"] == "7"


def signing_key(cloud: Cloud) -> str:
    client = cloud.target.client("lambda")
    found = client.get_function_configuration(FunctionName=f"{NAME}-predict-api")
    key: str = found["Environment"]["Variables"]["FEEDBACK_KEY"]
    return key


def test_what_signs_feedback_is_drawn_at_first_and_kept_and_not_shown(cloud: Cloud) -> None:
    cloud.deployment().deploy()
    drawn = signing_key(cloud)
    assert len(bytes.fromhex(drawn)) == 32
    cloud.deployment(LogRetentionDays="7").deploy()
    assert signing_key(cloud) == drawn
    # moto overlooks that; CloudFormation answers with asterisks
    assert template()["Parameters"]["FeedbackKey"]["NoEcho"] is True
    assert drawn not in cloud.talk.getvalue()


def test_another_key_may_be_given_for_feedback(cloud: Cloud) -> None:
    cloud.deployment(FeedbackKey="k" * 32).deploy()
    assert signing_key(cloud) == "k" * 32


@pytest.mark.parametrize("doing", ["plan", "deploy"])
def test_fewer_machines_at_most_than_at_least_are_refused(cloud: Cloud, doing: str) -> None:
    deployment = cloud.deployment(InstanceCount="5")
    with pytest.raises(StackError, match=r"InstanceCount is 5, MaxInstanceCount 4: .*Count=5"):
        getattr(deployment, doing)()
    assert cloud.changes() == []


def test_a_change_that_would_lose_what_the_key_encrypts_is_refused_and_forgotten(
    cloud: Cloud,
) -> None:
    def key_goes(parsed: dict[str, Any], **_: Any) -> None:
        """What moto does not see: the key's condition does not hold any more."""
        gone = {"Action": "Remove", "LogicalResourceId": "Key", "ResourceType": "AWS::KMS::Key"}
        parsed["Changes"].append({"ResourceChange": gone})

    cloud.deployment(EncryptWithKmsKey="true").deploy()
    client = cloud.target.client("cloudformation")
    client.meta.events.register("after-call.cloudformation.DescribeChangeSet", key_goes)
    cloud.changes()
    for act in (Deployment.plan, Deployment.deploy):
        with pytest.raises(StackError, match="Key would go, and with it all that it encrypts"):
            act(cloud.deployment(EncryptWithKmsKey="false"))
    assert cloud.changes() == ["CreateChangeSet", "DeleteChangeSet"] * 2
    state = cloud.deployment().stack.look()
    assert state is not None and state.parameters["EncryptWithKmsKey"] == "true"


def test_a_run_on_aws_takes_its_defaults_from_the_stack(cloud: Cloud) -> None:
    state = cloud.deployment().deploy()
    assert cloud.target.account.inference_image == ""  # opened before there was a stack
    settings = Settings(target="aws", region="us-east-1")
    session = SimpleNamespace(client=cloud.target.client)
    account = _deployed(settings, settings.account("123456789012"), session)
    assert account.inference_image == state.parameters["ImageUri"]
    assert account.bucket == OUTPUTS["ArtifactBucket"]
    assert OUTPUTS["ArtifactBucket"] in account.readable_buckets


@pytest.mark.parametrize(
    ("given", "is_refused"),
    [
        ({"bucket": "my-bucket"}, True),
        ({"bucket": OUTPUTS["ArtifactBucket"]}, False),
        ({"bucket": "my-bucket", "role_arn": "arn:aws:iam::123456789012:role/mine"}, False),
    ],
)
def test_a_bucket_that_the_stacks_role_may_not_write_to_is_refused(
    cloud: Cloud, given: dict[str, str], is_refused: bool
) -> None:
    cloud.deployment().deploy()
    settings = Settings(target="aws", region="us-east-1", **given)
    account = settings.account("123456789012")
    session = SimpleNamespace(client=cloud.target.client)
    if is_refused:
        with pytest.raises(SettingsError, match=r"only to sentiment-dev-us-.*unset SENTIMENT_BUC"):
            _deployed(settings, account, session)
    else:
        assert _deployed(settings, account, session).bucket == given["bucket"]


def register_and_serve(cloud: Cloud) -> None:
    """What runs and the deploy function leave in the account."""
    sagemaker = cloud.target.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName=NAME)
    sagemaker.create_model_package(ModelPackageGroupName=NAME, ModelApprovalStatus="Approved")
    model = f"{NAME}-v1-0123456789"
    role = f"arn:aws:iam::123456789012:role/{NAME}-execution"
    container = {"Image": "i", "ModelDataUrl": "s3://b/k"}
    for name in (model, "somebody-elses"):
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    variant = {"VariantName": "AllTraffic", "ModelName": model, "InitialVariantWeight": 1.0}
    sizes = {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    config = f"{model}-01234567"
    sagemaker.create_endpoint_config(
        EndpointConfigName=config, ProductionVariants=[{**variant, **sizes}]
    )
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=config)
    cloud.target.client("application-autoscaling").register_scalable_target(
        **stop_scaling(NAME).parameters, MinCapacity=1, MaxCapacity=2
    )
    sagemaker.create_pipeline(
        PipelineName=NAME, PipelineDefinition="{}", RoleArn=role, ClientRequestToken="0" * 32
    )


def write_objects(cloud: Cloud) -> None:
    s3 = cloud.target.client("s3")
    for number in range(3):  # three versions of one object, and a marker that it was deleted
        s3.put_object(Bucket=OUTPUTS["ArtifactBucket"], Key="runs/1/x", Body=bytes([number]))
    s3.delete_object(Bucket=OUTPUTS["ArtifactBucket"], Key="runs/1/x")


def test_destroying_leaves_nothing_and_takes_nothing_of_others(cloud: Cloud) -> None:
    deployment = cloud.deployment(EncryptWithKmsKey="true")
    deployment.deploy()
    register_and_serve(cloud)
    write_objects(cloud)
    cloud.target.client("s3").create_bucket(Bucket="somebody-elses")
    remover = Remover(cloud.target, deployment.stack, cloud.talk, sleep=lambda _: None)
    removal = remover.plan()
    assert removal is not None
    held = {item.kind for item in removal.items if item.kind.startswith("AWS::")}
    assert held >= SEEN_TO_GO  # or there would be nothing to see
    kinds = [item.kind for item in removal.items if item.request is not None]
    assert kinds == [
        "calls of",
        "scaling of",
        "endpoint",
        "endpoint config",
        "model",
        "pipeline",
        "version",
    ]
    remover.remove()

    client = cloud.target.client
    assert deployment.stack.look() is None
    assert [one["Name"] for one in client("s3").list_buckets()["Buckets"]] == ["somebody-elses"]
    assert client("sagemaker").list_endpoints()["Endpoints"] == []
    assert client("sagemaker").list_endpoint_configs()["EndpointConfigs"] == []
    models = client("sagemaker").list_models()["Models"]
    assert [one["ModelName"] for one in models] == ["somebody-elses"]
    assert client("sagemaker").list_pipelines()["PipelineSummaries"] == []
    packages = client("sagemaker").list_model_packages(ModelPackageGroupName=NAME)
    made = [one["ModelPackageArn"] for one in packages["ModelPackageSummaryList"]]
    assert cloud.deleted_versions == made
    assert client("lambda").list_functions()["Functions"] == []
    assert client("events").list_rules()["Rules"] == []
    assert client("sqs").list_queues().get("QueueUrls", []) == []
    assert client("sns").list_topics()["Topics"] == []
    assert client("ecr").describe_repositories()["repositories"] == []
    assert client("kms").list_keys()["Keys"] == []
    assert client("iam").list_roles()["Roles"] == []
    assert unproved(SEEN_TO_GO) == set()


def test_destroying_twice_is_destroying_once(cloud: Cloud) -> None:
    deployment = cloud.deployment()
    deployment.deploy()
    remover = Remover(cloud.target, deployment.stack, cloud.talk, sleep=lambda _: None)
    remover.remove()
    remover.remove()
    assert remover.plan() is None


def test_what_is_made_after_the_list_was_shown_goes_too(cloud: Cloud) -> None:
    deployment = cloud.deployment()
    deployment.deploy()
    timeouts = []

    def approve(seconds: float) -> None:
        """A call that had begun before the function was stopped ends while it is waited for."""
        if seconds:
            timeouts.append(seconds)
            register_and_serve(cloud)

    remover = Remover(cloud.target, deployment.stack, cloud.talk, sleep=approve)
    assert remover.plan() is not None
    remover.remove()
    assert timeouts == [120]
    sagemaker = cloud.target.client("sagemaker")
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_pipelines()["PipelineSummaries"] == []


def test_what_outlived_the_stack_is_found_and_removed_without_it(cloud: Cloud) -> None:
    register_and_serve(cloud)
    stack = cloud.deployment().stack
    remover = Remover(cloud.target, stack, cloud.talk, sleep=lambda _: None)
    removal = remover.plan()
    assert removal is not None
    assert {"endpoint", "model", "pipeline"} <= {item.kind for item in removal.items}
    remover.remove()
    assert cloud.target.client("sagemaker").list_endpoints()["Endpoints"] == []


def test_a_bucket_that_the_stack_could_not_make_is_left_as_it_is(cloud: Cloud) -> None:
    def failed(parsed: dict[str, Any], **_: Any) -> None:
        for one in parsed["StackResourceSummaries"]:
            if one["LogicalResourceId"] == "WebsiteBucket":
                one.update(PhysicalResourceId="somebody-elses", ResourceStatus="CREATE_FAILED")

    deployment = cloud.deployment()
    deployment.deploy()
    cloud.target.client("cloudformation").meta.events.register(
        "after-call.cloudformation.ListStackResources", failed
    )
    removal = Remover(cloud.target, deployment.stack, cloud.talk).plan()
    assert removal is not None
    emptied = [item.name for item in removal.items if item.kind == "objects in bucket"]
    assert emptied == [OUTPUTS["ArtifactBucket"]]


def test_an_endpoint_that_is_being_changed_is_waited_for(cloud: Cloud) -> None:
    def told(parsed: dict[str, Any], **_: Any) -> None:
        parsed["EndpointStatus"] = statuses.pop(0)

    def delete(**_: Any) -> None:
        left_at_deletion.append(len(statuses))

    statuses, left_at_deletion = ["Updating", "RollingBack", "InService"], list[int]()
    events = cloud.target.client("sagemaker").meta.events
    events.register("after-call.sagemaker.DescribeEndpoint", told)
    events.register("before-call.sagemaker.DeleteEndpoint", delete)
    register_and_serve(cloud)
    Remover(cloud.target, cloud.deployment().stack, cloud.talk, sleep=lambda _: None).remove()
    assert left_at_deletion == [0]


def test_nothing_is_removed_while_an_execution_runs_on_whatever_page(cloud: Cloud) -> None:
    def executions(model: Any, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, Any]:
        second = "NextToken" in json.loads(params["body"])
        status = "Executing" if second else "Succeeded"
        one = {"PipelineExecutionArn": "arn/x", "PipelineExecutionStatus": status}
        more = {} if second else {"NextToken": "2"}
        answer = AWSResponse("https://sagemaker", 200, {}, None)
        return answer, {"PipelineExecutionSummaries": [one], **more}

    register_and_serve(cloud)
    cloud.target.client("sagemaker").meta.events.register(
        "before-call.sagemaker.ListPipelineExecutions", executions
    )
    with pytest.raises(StackError, match="execution x is Executing"):
        Remover(cloud.target, cloud.deployment().stack, cloud.talk).plan()
