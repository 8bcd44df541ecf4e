"""The template as plain values: `!Ref X` is {"Ref": "X"}, `!Sub T` is {"Fn::Sub": T}."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).parents[2] / "lambda" / "template.yaml"

Given = Mapping[str, str]
NO_VALUE = object()
VARIABLE = re.compile(r"\$\{([\w:.]+)\}")
PSEUDO: dict[str, Any] = {
    "AWS::NoValue": NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
}
HERE = f"{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}"
ARNS = {
    "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{HERE}:alarm:{{}}",
    "AWS::CodeBuild::Project": f"arn:aws:codebuild:{HERE}:project/{{}}",
    "AWS::ECR::Repository": f"arn:aws:ecr:{HERE}:repository/{{}}",
    "AWS::Events::Rule": f"arn:aws:events:{HERE}:rule/{{}}",
    "AWS::IAM::Role": f"arn:aws:iam::{PSEUDO['AWS::AccountId']}:role/{{}}",
    "AWS::KMS::Key": f"arn:aws:kms:{HERE}:key/{{}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{HERE}:function:{{}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{HERE}:log-group:{{}}:*",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SNS::Topic": f"arn:aws:sns:{HERE}:{{}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{HERE}:{{}}",
    "AWS::WAFv2::WebACL": f"arn:aws:wafv2:{HERE}:global/webacl/{{}}/1",
}
REFERRED_BY_ARN = ("AWS::SNS::Topic",)


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _intrinsic(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _intrinsic)


@cache
def template() -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(PATH.read_text("utf-8"), Loader)  # noqa: S506
    return document


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Properties of the resources of a type, by logical name."""
    return {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


def statements(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Statements of a policy, those under a condition too."""
    for statement in document["Statement"]:
        if "Fn::If" in statement:
            statement = statement["Fn::If"][1]
        yield statement


def present(given: Given) -> dict[str, dict[str, Any]]:
    """The resources that are made with these parameters, by logical name."""
    return {
        name: resource
        for name, resource in template()["Resources"].items()
        if "Condition" not in resource or _holds({"Condition": resource["Condition"]}, given)
    }


def resolved(value: Any, given: Given) -> Any:
    """What a value comes to with these parameters; the others have their defaults.

    Raises LookupError where it refers to a resource that is not made with them.
    """
    if isinstance(value, list):
        items = [resolved(item, given) for item in value]
        return [item for item in items if item is not NO_VALUE]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        return _reference(value["Ref"], given)
    if "Fn::GetAtt" in value:
        return _attribute(*value["Fn::GetAtt"].split(".", 1), given)
    if "Fn::Sub" in value:
        return re.sub(VARIABLE, lambda match: _variable(match[1], given), value["Fn::Sub"])
    if "Fn::If" in value:
        condition, then, otherwise = value["Fn::If"]
        return resolved(then if _holds({"Condition": condition}, given) else otherwise, given)
    if "Fn::Join" in value:
        between, parts = value["Fn::Join"]
        return between.join(resolved(parts, given))
    items = {key: resolved(item, given) for key, item in value.items()}
    return {key: item for key, item in items.items() if item is not NO_VALUE}


def _variable(name: str, given: Given) -> str:
    return str(resolved({"Fn::GetAtt" if "." in name else "Ref": name}, given))


def _reference(name: str, given: Given) -> Any:
    if name in PSEUDO:
        return PSEUDO[name]
    if name in template()["Parameters"]:
        return given.get(name, template()["Parameters"][name].get("Default"))
    called = _called(name, given)
    return ARNS[kind(name)].format(called) if kind(name) in REFERRED_BY_ARN else called


def _attribute(name: str, attribute: str, given: Given) -> str:
    called = _called(name, given)
    return ARNS[kind(name)].format(called) if attribute == "Arn" else f"{called}.{attribute}"


def _called(name: str, given: Given) -> str:
    """The name that a resource has in the account, where the template gives it one."""
    properties = present(given)[name]["Properties"]
    names = (f"{kind(name).rpartition('::')[2]}Name", "Name")
    return str(next((resolved(properties[n], given) for n in names if n in properties), name))


def kind(name: str) -> str:
    found: str = template()["Resources"][name]["Type"]
    return found


def _holds(condition: dict[str, Any], given: Given) -> bool:
    ((operator, operands),) = condition.items()
    if operator == "Condition":
        return _holds(template()["Conditions"][operands], given)
    if operator == "Fn::Equals":
        first, second = (str(resolved(one, given)) for one in operands)
        return first == second
    answers = [_holds(one, given) for one in operands]
    return all(answers) if operator == "Fn::And" else not answers[0]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
