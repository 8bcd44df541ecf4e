"""What an account holds, by kind: of the template's resources, and of what is made beside them."""

from __future__ import annotations

from typing import Any

from tests.infrastructure.template import template
from tests.pipeline.stack.conftest import NAME, Cloud

# CloudFormation's to remove: moto's makes none of these kinds, or does not take them away.
# What would have CloudFormation keep one, a deletion policy, is in no template of ours.
LEFT_TO_CLOUDFORMATION = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route",
    "AWS::ApiGatewayV2::Stage",
    "AWS::Budgets::Budget",
    "AWS::CloudFront::Distribution",
    "AWS::CloudFront::OriginAccessControl",
    "AWS::CloudFront::ResponseHeadersPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::CodeBuild::Project",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SageMaker::ModelPackageGroup",
    "AWS::WAFv2::WebACL",
}


def left(cloud: Cloud, sagemaker: Any) -> dict[str, list[str]]:
    """Names by kind. `sagemaker` is the client of the account in which runs and endpoints are."""
    client = cloud.target.client
    pipelines = sagemaker.list_pipelines()["PipelineSummaries"]
    buckets = [one["Name"] for one in client("s3").list_buckets()["Buckets"]]
    try:
        packages = sagemaker.list_model_packages(ModelPackageGroupName=NAME)
    except sagemaker.exceptions.ClientError:
        packages = {"ModelPackageSummaryList": []}
    return {
        "AWS::ECR::Repository": [
            one["repositoryName"] for one in client("ecr").describe_repositories()["repositories"]
        ],
        "AWS::Events::Rule": [one["Name"] for one in client("events").list_rules()["Rules"]],
        "AWS::IAM::Role": [one["RoleName"] for one in client("iam").list_roles()["Roles"]],
        "AWS::KMS::Key": [one["KeyId"] for one in client("kms").list_keys()["Keys"]],
        "AWS::Lambda::Function": [
            one["FunctionName"] for one in client("lambda").list_functions()["Functions"]
        ],
        "AWS::S3::Bucket": buckets,
        "AWS::SNS::Topic": [one["TopicArn"] for one in client("sns").list_topics()["Topics"]],
        "AWS::SQS::Queue": client("sqs").list_queues().get("QueueUrls", []),
        "stack": [
            one["StackName"]
            for one in client("cloudformation").list_stacks()["StackSummaries"]
            if one["StackStatus"] != "DELETE_COMPLETE"
        ],
        "object": [
            one["Key"]
            for bucket in buckets
            for one in client("s3").list_object_versions(Bucket=bucket).get("Versions", [])
        ],
        "endpoint": [one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]],
        "endpoint config": [
            one["EndpointConfigName"]
            for one in sagemaker.list_endpoint_configs()["EndpointConfigs"]
        ],
        "model": [one["ModelName"] for one in sagemaker.list_models()["Models"]],
        "version": [one["ModelPackageArn"] for one in packages["ModelPackageSummaryList"]],
        "pipeline": [one["PipelineName"] for one in pipelines],
    }


def unproved(kinds: set[str]) -> set[str]:
    """Kinds of the template whose end neither an account shows nor CloudFormation sees to."""
    resources = template()["Resources"].values()
    kept = {one["Type"] for one in resources if one.get("DeletionPolicy", "Delete") != "Delete"}
    return ({one["Type"] for one in resources} - kinds - LEFT_TO_CLOUDFORMATION) | kept
