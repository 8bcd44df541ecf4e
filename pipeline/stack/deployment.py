"""Deploys: packages, stack, serving image, website, in this order; each step is done once.

What is uploaded or built is named by its content, so a deployment that was interrupted goes on
where it stood, and one without changes changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from botocore import xform_name
from botocore.exceptions import ClientError

from pipeline.errors import StackError
from pipeline.packages import Package, function_package, image_source, image_tag
from pipeline.stack.boundary import refuse_unbounded
from pipeline.stack.cloudformation import (
    EMPTY,
    Change,
    Stack,
    State,
    refuse_loss,
    refuse_unusable,
)
from pipeline.stack.requests import (
    PUBLISHING,
    TEMPLATE_BYTES,
    Request,
    begin_publishing,
    compact,
    create_change_set,
    end_publishing,
    invalidate,
    put_package,
    resume_deploying,
    start_build,
    website_files,
)
from pipeline.target import Target

TEMPLATE = "lambda/template.yaml"
CODE_KEYS = {"PredictCodeKey": "predict_api", "DeployCodeKey": "deploy_model"}
# Files of the website's folder that are for whoever serves it
NOT_SERVED = ("headers.json", "config.json")
MAX_BUILD_S = 3600.0


@dataclass(frozen=True)
class Wish:
    """What the stack is to be made of."""

    name: str
    template: str
    packages: Mapping[str, Package]
    image: Package
    image_tag: str
    website: Mapping[str, bytes]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]

    def given(self, state: State | None) -> dict[str, str]:
        """The parameters that the stack will have, but those that have the template's default."""
        return {**(state.parameters if state else {}), **self.parameters}

    def drawn(self, state: State | None) -> dict[str, str]:
        """The secret of a stack that has none yet; it keeps it, and tells it nobody again."""
        key = "FeedbackKey"
        return {} if key in self.given(state) else {key: secrets.token_hex()}

    @property
    def code_keys(self) -> dict[str, str]:
        return {parameter: package.key for parameter, package in self.packages.items()}

    @property
    def deploy_executions(self) -> int:
        """How many calls of the deploy function the template lets run at once."""
        function = self.template.partition("\n  DeployFunction:\n")[2]
        return int(
            function.partition("ReservedConcurrentExecutions: !If [Reserves, ")[2].split(",")[0]
        )

    def refuse_senseless(self, state: State | None) -> None:
        """Raise StackError for parameters that the deploy function would stumble over."""
        given = self.given(state)
        fewest, most = (self._number(name, given) for name in ("InstanceCount", "MaxInstanceCount"))
        if fewest > most:
            raise StackError(
                f"InstanceCount is {fewest}, MaxInstanceCount {most}: the fewest machines must not"
                f" be more than the most (--parameter MaxInstanceCount={fewest})"
            )

    def _number(self, parameter: str, given: Mapping[str, str]) -> int:
        """Its value, or what the template has for it."""
        declared = self.template.partition(f"\n  {parameter}:\n")[2]
        return int(given.get(parameter, declared.partition("Default: ")[2].split("\n")[0]))

    def change_set(self, state: State | None, **more: str) -> Request:
        """The request for a change set that brings the stack, as it is, to this."""
        exists = state is not None
        kept = tuple(state.parameters) if state else ()
        return create_change_set(
            self.name,
            self.template,
            {"Name": self.name, **self.parameters, **more},
            tags=self.tags,
            exists=exists,
            kept=[key for key in kept if f"\n  {key}:\n" in self.template],
        )


def wish(root: Path, name: str, stage: str, commit: str, parameters: Mapping[str, str]) -> Wish:
    """Read the clone at `root`; raises SourceError or StackError where it cannot be deployed."""
    template = compact((root / TEMPLATE).read_text("utf-8"))
    if len(template.encode()) > TEMPLATE_BYTES:
        raise StackError(f"{TEMPLATE} is larger than the {TEMPLATE_BYTES} bytes of a request")
    return Wish(
        name=name,
        template=template,
        packages={key: function_package(folder, root) for key, folder in CODE_KEYS.items()},
        image=image_source(root),
        image_tag=image_tag(root),
        website={
            path.name: path.read_bytes()
            for path in sorted((root / "website").iterdir())
            if path.is_file() and path.name not in NOT_SERVED
        },
        parameters=parameters,
        tags={
            "sagemaker:project-name": name,
            "sagemaker:deployment-stage": stage,
            "commit": commit,
        },
    )


def is_stopped(target: Target, function: str) -> bool:
    """Whether a removal has stopped the deploy function; it does so first."""
    try:
        answer = target.client("lambda").get_function_concurrency(FunctionName=function)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return False
        raise
    return bool(answer.get("ReservedConcurrentExecutions") == 0)


def site_config(root: Path, parameters: Mapping[str, str]) -> bytes:
    """config.json of the website on AWS, where CloudFront has the API under /api."""
    document = json.loads((root / "website" / "config.json").read_text("utf-8"))
    document |= {"api": "/api/", "feedback": parameters.get("KeepFeedback") == "true"}
    return (json.dumps(document, indent=2) + "\n").encode()


class Deployment:
    """Carries a wish out in one account, telling what it does."""

    def __init__(
        self,
        target: Target,
        wish: Wish,
        root: Path,
        talk: IO[str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target
        self._wish = wish
        self._root = root
        self._talk = talk
        self._sleep = sleep
        client = target.client("cloudformation")
        self.stack = Stack(client, wish.name, talk, target.poll_s, sleep)

    def plan(self) -> list[Change] | None:
        """What deploying would change in the stack; None if that is nothing. Changes nothing."""
        state = self._usable()
        # a new stack is planned whole, as it is when all is done
        more = {**self._wish.code_keys, **self._wish.drawn(state)}
        request = self._wish.change_set(state, **more)
        changes = self.stack.prepare(request)
        if changes is not None:
            self.stack.discard(request)
            refuse_loss(self.stack.name, changes)
        return changes

    def deploy(self) -> State:
        """Bring everything to the wish; the stack as it is then."""
        refuse_unbounded(self._target, self._wish.given(self.stack.look()).get("DataBucket", ""))
        state = self._usable()
        if state is None:
            # the packages need a bucket first, and the stack makes it: stand-ins meanwhile
            self._say("making the stack (about 6 minutes, most of it CloudFront)")
            self._change(self._wish.change_set(None, **self._wish.drawn(None)))
            state = self._existing()
        for package in self._wish.packages.values():
            self._upload(state.outputs["ArtifactBucket"], package)
        image = self._image(state.outputs)
        more = {**self._wish.code_keys, **self._wish.drawn(state), "ImageUri": image}
        self._change(self._wish.change_set(state, **more))
        state = self._existing()
        self._resume(state.parameters)
        self._publish(state)
        return state

    def _usable(self) -> State | None:
        state = self.stack.wait_until_idle()
        if state is not None and state.status == EMPTY:
            self.stack.delete()  # what an interrupted plan or deployment left; nothing is in it
            state = None
        if state is not None:
            refuse_unusable(self.stack.name, state)
        self._wish.refuse_senseless(state)
        return state

    def _existing(self) -> State:
        state = self.stack.look()
        if state is None:
            raise StackError(f"stack {self.stack.name} was deleted meanwhile")
        return state

    def _change(self, request: Request) -> None:
        changes = self.stack.prepare(request)
        if changes is None:
            self._say("the stack is as wanted")
            return
        try:
            refuse_loss(self.stack.name, changes)
        except StackError:
            self.stack.discard(request)
            raise
        self._say(f"changing {len(changes)} resources")
        self.stack.execute(request)

    def _resume(self, parameters: Mapping[str, str]) -> None:
        """Start the deploy function again: no change set would, as the template is the same."""
        function = self._target.account.deploy_function
        if is_stopped(self._target, function):
            self._say(f"starting {function}, which an interrupted removal has stopped")
            reserves = parameters.get("PredictConcurrency") != "0"
            executions = self._wish.deploy_executions if reserves else None
            self._send(resume_deploying(function, executions))

    def _exists(self, bucket: str, key: str) -> bool:
        try:
            self._target.client("s3").head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
            return False
        return True

    def _upload(self, bucket: str, package: Package) -> None:
        if self._exists(bucket, package.key):
            return
        self._say(f"uploading {package.key} ({len(package.content) / 1e6:.1f} MB)")
        self._send(put_package(bucket, package.key, package.content))

    def _image(self, outputs: Mapping[str, str]) -> str:
        """The serving image by digest, built unless it is there."""
        if digest := self._digest(outputs):
            return f"{outputs['ImageRepository']}@{digest}"
        self._upload(outputs["ArtifactBucket"], self._wish.image)
        project = outputs["ImageBuild"]
        build = self._running_build(project)
        if build is None:
            self._say("building the serving image (about 5 minutes)")
            request = start_build(
                project, outputs["ArtifactBucket"], self._wish.image.key, self._wish.image_tag
            )
            build = self._send(request)["build"]["id"]
        self._wait_for_build(build)
        digest = self._digest(outputs)
        if not digest:
            raise StackError(f"build {build} succeeded, but pushed no image")
        return f"{outputs['ImageRepository']}@{digest}"

    def _digest(self, outputs: Mapping[str, str]) -> str:
        repository = outputs["ImageRepository"].partition("/")[2]
        try:
            answer = self._target.client("ecr").describe_images(
                repositoryName=repository, imageIds=[{"imageTag": self._wish.image_tag}]
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ImageNotFoundException":
                return ""
            raise
        digest: str = answer["imageDetails"][0]["imageDigest"]
        return digest

    def _running_build(self, project: str) -> str | None:
        """A build of this image that an interrupted deployment has begun."""
        codebuild = self._target.client("codebuild")
        newest = codebuild.list_builds_for_project(projectName=project)["ids"][:5]
        if not newest:
            return None
        wanted = {"name": "IMAGE_TAG", "value": self._wish.image_tag}
        for build in codebuild.batch_get_builds(ids=newest)["builds"]:
            variables = build.get("environment", {}).get("environmentVariables", [])
            given = [{"name": one["name"], "value": one["value"]} for one in variables]
            if build["buildStatus"] == "IN_PROGRESS" and wanted in given:
                found: str = build["id"]
                return found
        return None

    def _wait_for_build(self, build_id: str) -> None:
        codebuild = self._target.client("codebuild")
        deadline, phase = time.monotonic() + MAX_BUILD_S, ""
        while True:
            (build,) = codebuild.batch_get_builds(ids=[build_id])["builds"]
            if build.get("currentPhase", "") != phase:
                phase = build["currentPhase"]
                self._say(f"build {phase}")
            if build["buildStatus"] != "IN_PROGRESS":
                break
            if time.monotonic() > deadline:
                raise StackError(f"build {build_id} is not done after an hour")
            self._sleep(self._target.poll_s)
        if build["buildStatus"] != "SUCCEEDED":
            log = build.get("logs", {}).get("deepLink", "CodeBuild's console")
            raise StackError(f"build {build_id} is {build['buildStatus']} (log: {log})")

    def _publish(self, state: State) -> None:
        bucket = state.outputs["WebsiteBucket"]
        files = {**self._wish.website, "config.json": site_config(self._root, state.parameters)}
        changed = [
            request
            for request in website_files(bucket, files)
            if not self._is_there(bucket, request.parameters["Key"], request.parameters["Body"])
        ]
        artifacts = state.outputs["ArtifactBucket"]
        if changed:
            self._say(f"publishing {len(changed)} files of the website")
            self._send(begin_publishing(artifacts))
        elif not self._exists(artifacts, PUBLISHING):
            return
        for request in changed:
            self._send(request)
        digest = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()
        reference = f"{digest[:32]}-{int(time.time())}"
        self._send(invalidate(state.outputs["DistributionId"], reference))
        self._send(end_publishing(artifacts))

    def _is_there(self, bucket: str, key: str, content: bytes) -> bool:
        try:
            answer = self._target.client("s3").get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return False
            raise
        return bool(answer["Body"].read() == content)

    def _send(self, request: Request) -> Any:
        client = self._target.client(request.service)
        return getattr(client, xform_name(request.operation))(**request.parameters)

    def _say(self, line: str) -> None:
        print(line, file=self._talk, flush=True)
