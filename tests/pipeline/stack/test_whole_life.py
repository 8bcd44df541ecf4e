"""The whole life of a stack and of what it serves, by the command line, to the last resource.

moto holds the stack: it is deployed and destroyed there. What moto cannot do, it is run, served
and rolled back, happens in the local account, by the deploy function with the settings and the
events that the deployed stack gives it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

import pipeline.local
from pipeline import target as targets
from pipeline.cli import main
from pipeline.endpoint import Endpoint
from pipeline.history import history
from pipeline.local import processes
from pipeline.registry import Registry
from pipeline.settings import LOCAL_ACCOUNT_ID, ROOT, Settings
from pipeline.stack import removal
from pipeline.target import Target
from tests.deploy_model.artifacts import archive
from tests.pipeline.stack.conftest import NAME, OUTPUTS, Cloud
from tests.pipeline.stack.remains import left, unproved

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse .* not supported by moto")
FUNCTION = f"{NAME}-deploy-model"
PATIENCE_S = 120
# often enough; more often takes the cores from what is waited for
LOOK_S = 0.4
# few reviews, little of a model: what it learns is not what is looked at
QUICK = (
    "MaxReviews=200",
    "HiddenDim=8",
    "EmbeddingDim=8",
    "PretrainingEpochs=0",
    "Epochs=1",
    "MinAccuracy=0",
    "MinAdvantageOverBaseline=-1",
)


@dataclass
class Life:
    """The two accounts, and which of them the commands mean."""

    cloud: Cloud
    home: Path
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, target: Target, *arguments: str) -> None:
        self.monkeypatch.setattr(targets, "open_target", lambda _: target)
        assert main([*arguments]) == 0

    def local(self) -> Target:
        """The local account, with names, function and events as the stack has them."""
        cloud = self.cloud.target
        made = cloud.client("lambda").get_function_configuration(FunctionName=FUNCTION)
        variables = made["Environment"]["Variables"]
        settings = {key: str(value) for key, value in variables.items()}  # moto keeps numbers
        del settings["ALARM_TOPIC_ARN"]  # the local account sends no messages
        events = cloud.client("events")
        rules = [
            pipeline.local.Rule(rule["Name"], json.loads(rule["EventPattern"]), FUNCTION)
            for rule in events.list_rules(NamePrefix=NAME)["Rules"]
            if "aws.sagemaker" in rule.get("EventPattern", "")
        ]
        assert len(rules) == 2
        image = f"{OUTPUTS['ImageRepository']}@sha256:{'a' * 64}"
        account = replace(
            Settings(target="aws").account(LOCAL_ACCOUNT_ID),
            bucket=OUTPUTS["ArtifactBucket"],
            role_arn=settings["EXECUTION_ROLE_ARN"],
            inference_image=image,
        )
        server = next(one for name, one in targets._images().items() if "inference" in name)
        return Target(
            settings=Settings(home=self.home),
            account=account,
            session=pipeline.local.session(
                self.home,
                images={**targets._images(), image: server},
                functions={
                    FUNCTION: pipeline.local.Function(
                        handler=made["Handler"],
                        path=ROOT / "lambda",
                        environment=settings,
                        timeout_s=made["Timeout"],
                    )
                },
                rules=rules,
            ),
            poll_s=LOOK_S,
            deploy_timeout_s=PATIENCE_S,
            log_place=lambda group, stream: f"{group} {stream}",
            file_place=lambda bucket, key: key,
        )


@pytest.fixture
def life(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    brief = partial(removal.Remover, sleep=lambda seconds: time.sleep(min(seconds, 0.1)))
    monkeypatch.setattr(removal, "Remover", brief)
    yield Life(cloud, tmp_path / "home", monkeypatch)
    for child in processes._CHILDREN:
        child.wait(30)


def wait_until(holds: Callable[[], bool]) -> None:
    """A decision is carried out in the background; look until it has been."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(LOOK_S)


def register_again(target: Target, content: bytes | None = None) -> int:
    """The first version once more, or with another model archive."""
    first, number = Registry(target).find(1), len(Registry(target).versions()) + 1
    url = first.model_data_url
    if content is not None:
        key = f"runs/{number}/model.tar.gz"
        target.client("s3").put_object(Bucket=target.account.bucket, Key=key, Body=content)
        url = f"s3://{target.account.bucket}/{key}"
    package = target.client("sagemaker").describe_model_package(ModelPackageName=first.arn)
    (container,) = package["InferenceSpecification"]["Containers"]
    known = {key: container[key] for key in ("Image", "Environment") if key in container}
    target.client("sagemaker").create_model_package(
        ModelPackageGroupName=target.account.model_package_group,
        InferenceSpecification={
            "Containers": [{**known, "ModelDataUrl": url}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    return number


def copy_objects(target: Target, cloud: Cloud) -> int:
    """What was written to the stack's bucket; how many objects."""
    pages = target.client("s3").get_paginator("list_objects_v2")
    keys = [
        one["Key"]
        for page in pages.paginate(Bucket=target.account.bucket)
        for one in page.get("Contents", [])
    ]
    for key in keys:
        body = target.client("s3").get_object(Bucket=target.account.bucket, Key=key)["Body"]
        cloud.target.client("s3").put_object(
            Bucket=OUTPUTS["ArtifactBucket"], Key=key, Body=body.read()
        )
    return len(keys)


def test_a_stack_lives_from_its_deployment_to_nothing(life: Life) -> None:
    cloud = life.cloud
    before = left(cloud, cloud.target.client("sagemaker"))
    life(cloud.target, "stack", "deploy", "--parameter", "EncryptWithKmsKey=true")

    here = life.local()
    sagemaker = here.client("sagemaker")

    def serves(version: int) -> bool:
        served = Endpoint(here).served()
        return served is not None and (served.status, served.version) == ("InService", version)

    def told() -> list[tuple[int, str]]:
        return [(event.version, event.what) for event in reversed(history(here))]

    def is_served(version: int, times: int = 1) -> bool:
        """And recorded, which the look after the endpoint's change does."""
        return serves(version) and told().count((version, "Served")) == times

    life(here, "run", *(f"--parameter={one}" for one in QUICK))
    assert Endpoint(here).served() is None
    life(here, "registry", "approve", "1", "--reason", "good")
    wait_until(lambda: is_served(1))
    life(here, "predict", "A wonderful film.")

    bad = register_again(here, archive({"model.safetensors": b"noise", "config.json": b"{}"}))
    life(here, "registry", "approve", str(bad), "--reason", "looks fine")
    wait_until(lambda: (bad, "Failed") in told())
    assert serves(1)
    assert Registry(here).find(bad).failure
    life(here, "registry", "reject", str(bad), "--reason", "never healthy")

    third = register_again(here)
    life(here, "registry", "approve", str(third), "--reason", "the same again")
    wait_until(lambda: is_served(third))
    life(here, "registry", "rollback", "--reason", "no better", "--yes")
    wait_until(lambda: is_served(1, times=2))
    assert [one for one in told() if one[1] in ("Served", "Ended", "Failed")] == [
        (1, "Served"),
        (bad, "Failed"),
        (1, "Ended"),
        (third, "Served"),
        (1, "Served"),
        (third, "Ended"),
    ]

    assert copy_objects(here, cloud) > 10
    both = replace(cloud.target, _clients={**cloud.target._clients, "sagemaker": sagemaker})
    made = left(cloud, sagemaker)
    assert {kind for kind, names in made.items() if not names} == set()
    life(both, "stack", "destroy", "--yes")
    assert left(cloud, sagemaker) == before
    assert unproved({*made}) == set()
