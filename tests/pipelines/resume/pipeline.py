"""Training on two hosts that survives the loss of one: checkpoints and a retry policy."""

from pathlib import Path
from typing import Any

from sagemaker.core.shapes import CheckpointConfig, OutputDataConfig, S3DataSource
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
)
from sagemaker.mlops.workflow.steps import TrainingStep
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode

HERE = Path(__file__).parent


def get_pipeline(session: Any, role: str, image: str) -> Pipeline:
    """The pipeline on a PipelineSession."""
    bucket = session.default_bucket()
    trainer = ModelTrainer(
        training_image=image,
        role=role,
        base_job_name="resume",
        sagemaker_session=session,
        source_code=SourceCode(source_dir=str(HERE), entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.xlarge", instance_count=2, volume_size_in_gb=30),
        hyperparameters={"checkpoints": "/opt/ml/checkpoints"},
        checkpoint_config=CheckpointConfig(
            s3_uri=f"s3://{bucket}/resume/checkpoints", local_path="/opt/ml/checkpoints"
        ),
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/resume/models"),
    )
    source = S3DataSource(
        s3_data_type="S3Prefix",
        s3_uri=f"s3://{bucket}/resume/numbers/",
        s3_data_distribution_type="ShardedByS3Key",
    )
    train = TrainingStep(
        "Sum",
        step_args=trainer.train(
            input_data_config=[InputData(channel_name="numbers", data_source=source)]
        ),
        retry_policies=[
            SageMakerJobStepRetryPolicy(
                exception_types=[SageMakerJobExceptionTypeEnum.INTERNAL_ERROR],
                interval_seconds=1,
                backoff_rate=1.0,
                max_attempts=2,
            )
        ],
    )
    return Pipeline(name="Resume", steps=[train], sagemaker_session=session)
