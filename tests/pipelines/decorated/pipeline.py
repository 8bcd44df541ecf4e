"""Python functions as steps: what one returns, the next is given, and a condition looks at."""

from typing import Any

from sagemaker.core.workflow.conditions import ConditionGreaterThan
from sagemaker.core.workflow.parameters import ParameterInteger
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.function_step import step
from sagemaker.mlops.workflow.pipeline import Pipeline


def get_pipeline(session: Any, role: str, image: str) -> Pipeline:
    """The pipeline on a PipelineSession."""
    bucket = session.default_bucket()
    job = {"image_uri": image, "role": role, "instance_type": "ml.m5.xlarge"}

    @step(name="Square", **job)
    def square(number: int) -> dict[str, int]:
        return {"square": number * number}

    @step(name="Keep", **job)
    def keep(bucket: str, value: int) -> str:
        import boto3

        text = f"the square is {value}"
        boto3.client("s3").put_object(Bucket=bucket, Key="decorated/kept.txt", Body=text.encode())
        return text

    number = ParameterInteger("Number", default_value=7)
    squared = square(number)
    enough = ConditionStep(
        "IsEnough",
        conditions=[ConditionGreaterThan(squared["square"], 10)],
        if_steps=[keep(bucket, squared["square"])],
        else_steps=[FailStep("TooSmall", error_message="the square is small")],
    )
    return Pipeline(
        name="Decorated",
        parameters=[number],
        steps=[squared, enough],
        sagemaker_session=session,
    )
