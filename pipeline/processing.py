"""What the pipeline's steps are built from: the account, the jobs' code, a processing job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sagemaker.core.processing import FrameworkProcessor
from sagemaker.core.shapes import (
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
)
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.mlops.workflow.steps import CacheConfig, ProcessingStep

from pipeline import images
from pipeline.parameters import NO_TABLE_KEY
from pipeline.settings import Account
from pipeline.source import ARCHIVE, REQUIREMENTS, Tree, upload

PROCESSING = "/opt/ml/processing"
CACHE = CacheConfig(enable_caching=True, expire_after="P30D")
SERVICE_RETRIES = StepRetryPolicy(
    exception_types=[StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING],
    interval_seconds=10,
    max_attempts=3,
)
JOB_RETRIES = [
    SERVICE_RETRIES,
    SageMakerJobStepRetryPolicy(
        exception_types=[SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT],
        failure_reason_types=[
            SageMakerJobExceptionTypeEnum.INTERNAL_ERROR,
            SageMakerJobExceptionTypeEnum.CAPACITY_ERROR,
        ],
        interval_seconds=60,
        max_attempts=3,
    ),
]
MAX_RUNTIME_S = 6 * 3600


@dataclass(frozen=True)
class Context:
    """What every step is built from."""

    session: PipelineSession
    account: Account
    parameters: dict[str, Any]
    trees: dict[str, Tree]

    def upload_archive(self, job: str) -> str:
        """Upload a job's tree as one archive; returns the archive's URI."""
        tree = self.trees[job]
        s3 = self.session.boto_session.client("s3")
        return upload(s3, self.account.bucket, tree.prefix, [(ARCHIVE, tree.archive())]) + ARCHIVE

    def upload_no_table(self) -> None:
        """Upload the object that stands for a table that is not given."""
        prefix, _, name = NO_TABLE_KEY.rpartition("/")
        s3 = self.session.boto_session.client("s3")
        upload(s3, self.account.bucket, prefix, [(name, b"no table\n")])

    def upload_folder(self, job: str) -> str:
        """Upload a job's tree file by file; returns the folder's URI."""
        tree = self.trees[job]
        s3 = self.session.boto_session.client("s3")
        return upload(s3, self.account.bucket, tree.prefix, tree.files)


def processing_step(
    context: Context,
    name: str,
    *,
    inputs: list[ProcessingInput],
    outputs: list[ProcessingOutput],
    arguments: list[Any],
    instance_count: Any = 1,
    property_file: PropertyFile,
    description: str,
) -> ProcessingStep:
    job = name.lower()
    processor = FrameworkProcessor(
        image_uri=images.training_image(context.account.region, "ml.m5.xlarge"),
        command=["python3"],
        role=context.account.role_arn,
        instance_count=instance_count,
        instance_type=context.parameters["ProcessingInstanceType"],
        base_job_name=f"{context.account.pipeline_name}-{job}",
        max_runtime_in_seconds=MAX_RUNTIME_S,
        sagemaker_session=context.session,
    )
    step_args = processor.run(
        code=f"{job}.py",
        source_dir=context.upload_archive(job),
        requirements=REQUIREMENTS,
        inputs=inputs,
        outputs=outputs,
        arguments=arguments,
        # The SDK puts its own scripts under the job's name: a time in it would change the
        # definition at every compile.
        job_name=f"source/{job}-scripts/{context.trees[job].digest}",
    )
    return ProcessingStep(
        name,
        description=description,
        step_args=step_args,
        property_files=[property_file],
        cache_config=CACHE,
        retry_policies=JOB_RETRIES,
    )


def input_from(name: str, uri: Any) -> ProcessingInput:
    return ProcessingInput(
        input_name=name,
        s3_input=ProcessingS3Input(
            s3_uri=uri,
            local_path=f"{PROCESSING}/input/{name}",
            s3_data_type="S3Prefix",
            s3_input_mode="File",
        ),
    )


def output_to(context: Context, step: str, name: str) -> ProcessingOutput:
    return ProcessingOutput(
        output_name=name,
        s3_output=ProcessingS3Output(
            s3_uri=run_prefix(context.account.bucket, step, name),
            local_path=f"{PROCESSING}/output/{name}",
            s3_upload_mode="EndOfJob",
        ),
    )


def run_prefix(bucket: str, *parts: str) -> Join:
    return Join(
        on="/", values=[f"s3://{bucket}/runs", ExecutionVariables.PIPELINE_EXECUTION_ID, *parts]
    )


def output_uri(step: ProcessingStep, name: str) -> Any:
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri
