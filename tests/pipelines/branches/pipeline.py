"""A chain of script processors and a decision within a decision."""

from pathlib import Path
from typing import Any

from sagemaker.core.processing import ScriptProcessor
from sagemaker.core.shapes import (
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
)
from sagemaker.core.workflow.conditions import (
    ConditionEquals,
    ConditionGreaterThan,
    ConditionIn,
    ConditionNot,
    ConditionOr,
)
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterInteger, ParameterString
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import ProcessingStep

HERE = Path(__file__).parent


def get_pipeline(session: Any, role: str, image: str) -> Pipeline:
    """The pipeline on a PipelineSession."""
    bucket = session.default_bucket()
    least = ParameterInteger("MinLines", default_value=2)
    audience = ParameterString("Audience", default_value="all")
    processor = ScriptProcessor(
        image_uri=image,
        command=["python3"],
        role=role,
        instance_count=1,
        instance_type="ml.m5.xlarge",
        sagemaker_session=session,
    )

    def write(name: str) -> ProcessingOutput:
        target = ProcessingS3Output(
            s3_uri=f"s3://{bucket}/branches/{name}",
            local_path=f"/opt/ml/processing/{name}",
            s3_upload_mode="EndOfJob",
        )
        return ProcessingOutput(output_name=name, s3_output=target)

    source = ProcessingS3Input(
        s3_uri=f"s3://{bucket}/branches/texts",
        local_path="/opt/ml/processing/texts",
        s3_data_type="S3Prefix",
        s3_input_mode="File",
    )
    report = PropertyFile(name="Measured", output_name="measured", path="measured.json")
    measure = ProcessingStep(
        "Measure",
        step_args=processor.run(
            code=str(HERE / "measure.py"),
            inputs=[ProcessingInput(input_name="texts", s3_input=source)],
            outputs=[write("measured")],
            arguments=[
                "--input",
                "/opt/ml/processing/texts",
                "--output",
                "/opt/ml/processing/measured",
            ],
        ),
        property_files=[report],
    )

    def measured(path: str) -> JsonGet:
        return JsonGet(step_name=measure.name, property_file=report, json_path=path)

    message = Join(on=" ", values=[measured("lines"), "lines for", audience])
    publish = ProcessingStep(
        "Publish",
        step_args=processor.run(
            code=str(HERE / "publish.py"),
            outputs=[write("published")],
            arguments=["--output", "/opt/ml/processing/published", "--message", message],
        ),
    )
    hidden = ConditionStep(
        "IsForSomebody",
        conditions=[
            ConditionNot(ConditionEquals(audience, "nobody")),
            ConditionIn(value=measured("kind"), in_values=["text", "table"]),
        ],
        if_steps=[publish],
        else_steps=[
            FailStep("Hidden", error_message=Join(on=" ", values=["hidden from", audience]))
        ],
    )
    worth_it = ConditionStep(
        "IsWorthIt",
        conditions=[
            ConditionOr([
                ConditionGreaterThan(measured("lines"), least),
                ConditionGreaterThan(measured("longest"), 1000),
            ])
        ],
        if_steps=[hidden],
        else_steps=[FailStep("TooShort", error_message="too short")],
    )  # fmt: skip
    return Pipeline(
        name="Branches",
        parameters=[least, audience],
        steps=[measure, worth_it],
        sagemaker_session=session,
    )
