"""Regression on the abalone table, after the AWS example: process, train, evaluate, gate, register.

The scripts beside it name their /opt/ml paths literally, as scripts for SageMaker do.
"""

from pathlib import Path
from typing import Any

from sagemaker.core.model_metrics import MetricsSource, ModelMetrics
from sagemaker.core.processing import ScriptProcessor
from sagemaker.core.shapes import (
    OutputDataConfig,
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
)
from sagemaker.core.workflow.conditions import ConditionLessThanOrEqualTo
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterFloat, ParameterString
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.model_step import ModelStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import CacheConfig, ProcessingStep, TrainingStep
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode

HERE = Path(__file__).parent
CACHE = CacheConfig(enable_caching=True, expire_after="P30D")


def get_pipeline(session: Any, role: str, image: str) -> Pipeline:
    """The pipeline on a PipelineSession."""
    bucket = session.default_bucket()
    data = ParameterString("InputData", default_value=f"s3://{bucket}/abalone/abalone.csv")
    limit = ParameterFloat("MaxMse", default_value=6.0)
    processor = ScriptProcessor(
        image_uri=image,
        command=["python3"],
        role=role,
        instance_count=1,
        instance_type="ml.m5.xlarge",
        sagemaker_session=session,
    )

    def read(name: str, uri: Any, folder: str) -> ProcessingInput:
        source = ProcessingS3Input(
            s3_uri=uri, local_path=folder, s3_data_type="S3Prefix", s3_input_mode="File"
        )
        return ProcessingInput(input_name=name, s3_input=source)

    def write(name: str) -> ProcessingOutput:
        place = [f"s3://{bucket}/abalone", ExecutionVariables.PIPELINE_EXECUTION_ID, name]
        target = ProcessingS3Output(
            s3_uri=Join(on="/", values=place),
            local_path=f"/opt/ml/processing/{name}",
            s3_upload_mode="EndOfJob",
        )
        return ProcessingOutput(output_name=name, s3_output=target)

    def written(step: ProcessingStep, name: str) -> Any:
        return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri

    preprocess = ProcessingStep(
        "PreprocessAbalone",
        step_args=processor.run(
            code=str(HERE / "preprocess.py"),
            inputs=[read("table", data, "/opt/ml/processing/input")],
            outputs=[write(name) for name in ("train", "validation", "test")],
        ),
        cache_config=CACHE,
    )
    trainer = ModelTrainer(
        training_image=image,
        role=role,
        base_job_name="abalone",
        sagemaker_session=session,
        source_code=SourceCode(source_dir=str(HERE), entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.xlarge", instance_count=1, volume_size_in_gb=30),
        hyperparameters={"alpha": 0.5},
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/abalone/models"),
    )
    channel = InputData(channel_name="train", data_source=written(preprocess, "train"))
    train = TrainingStep("TrainAbalone", step_args=trainer.train(input_data_config=[channel]))
    model = train.properties.ModelArtifacts.S3ModelArtifacts
    report = PropertyFile(name="Report", output_name="evaluation", path="evaluation.json")
    evaluate = ProcessingStep(
        "EvaluateAbalone",
        step_args=processor.run(
            code=str(HERE / "evaluate.py"),
            inputs=[
                read("model", model, "/opt/ml/processing/model"),
                read("test", written(preprocess, "test"), "/opt/ml/processing/test"),
            ],
            outputs=[write("evaluation")],
        ),
        property_files=[report],
    )
    statistics = Join(on="/", values=[written(evaluate, "evaluation"), "evaluation.json"])
    builder = ModelBuilder(
        image_uri=image, s3_model_data_url=model, role_arn=role, sagemaker_session=session
    )
    register = ModelStep(
        "RegisterAbalone",
        step_args=builder.register(
            model_package_group_name="Abalone",
            content_types=["text/csv"],
            response_types=["text/csv"],
            inference_instances=["ml.m5.large"],
            transform_instances=["ml.m5.large"],
            model_metrics=ModelMetrics(
                model_statistics=MetricsSource(content_type="application/json", s3_uri=statistics)
            ),
        ),
    )
    mse = JsonGet(
        step_name=evaluate.name, property_file=report, json_path="regression_metrics.mse.value"
    )
    fail = FailStep("TooFarOff", error_message=Join(on=" ", values=["MSE above", limit]))
    gate = ConditionStep(
        "CheckMse",
        conditions=[ConditionLessThanOrEqualTo(left=mse, right=limit)],
        if_steps=[register],
        else_steps=[fail],
    )
    return Pipeline(
        name="Abalone",
        parameters=[data, limit],
        steps=[preprocess, train, evaluate, gate],
        sagemaker_session=session,
    )
