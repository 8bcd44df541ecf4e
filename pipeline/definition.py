"""The pipeline: Preprocess → Train → Evaluate → gates → Register → Deploy, or a fail step.

This module imports the SageMaker SDK, which takes seconds and wants a region in the environment:
reach it through `pipeline.compilation`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from sagemaker.core.lambda_helper import Lambda
from sagemaker.core.shapes import (
    CheckpointConfig,
    OutputDataConfig,
    StoppingCondition,
)
from sagemaker.core.workflow.conditions import (
    ConditionGreaterThanOrEqualTo,
    ConditionLessThanOrEqualTo,
)
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import (
    ParameterFloat,
    ParameterInteger,
    ParameterString,
)
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.core.workflow.pipeline_definition_config import PipelineDefinitionConfig
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.lambda_step import LambdaOutput, LambdaOutputTypeEnum, LambdaStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import ProcessingStep, TrainingStep
from sagemaker.train.configs import Compute, InputData, SourceCode
from sagemaker.train.distributed import Torchrun

from pipeline import images
from pipeline.parameters import DATA_PARAMETERS, HYPERPARAMETERS, declare
from pipeline.processing import (
    CACHE,
    JOB_RETRIES,
    MAX_RUNTIME_S,
    PROCESSING,
    SERVICE_RETRIES,
    Context,
    input_from,
    output_to,
    output_uri,
    processing_step,
    run_prefix,
)
from pipeline.registration import Lineage, register_step
from pipeline.settings import Account
from pipeline.source import REQUIREMENTS, Tree, code_digest
from pipeline.trainer import ContentAddressedTrainer

CHECKPOINTS = "/opt/ml/checkpoints"
ACCURACY_PATH = "binary_classification_metrics.accuracy.value"
BASELINE_PATH = "baseline.accuracy.value"
ADVANTAGE_PATH = "advantage_over_baseline.value"
DROP_PATH = "accuracy_drop.value"
# What the report names besides hyperparameters.
REPORTED_PARAMETERS = (
    "InputDataUrl",
    "CounterfactualDataUrl",
    "CounterfactualTestUrl",
    "TextPreset",
    "VocabularySize",
    "MaxReviews",
    "MinAccuracy",
    "MinAdvantageOverBaseline",
    "MaxAccuracyDrop",
    "SourceCommit",
)


def get_pipeline(session: PipelineSession, account: Account, trees: dict[str, Tree]) -> Pipeline:
    """Define the pipeline on `session`; the trees are uploaded when it is compiled."""
    context = Context(session, account, _sdk_parameters(account), trees)
    context.upload_no_table()
    preprocess, data_report = _preprocess_step(context)
    train = _train_step(context, preprocess)
    evaluate, evaluation_report = _evaluate_step(context, preprocess, train, data_report)

    def measured(path: str) -> JsonGet:
        return JsonGet(step_name=evaluate.name, property_file=evaluation_report, json_path=path)

    register = register_step(
        context.session,
        account,
        Lineage(
            model_data=train.properties.ModelArtifacts.S3ModelArtifacts,
            evaluation=Join(on="/", values=[output_uri(evaluate, "evaluation"), "evaluation.json"]),
            accuracy=measured(ACCURACY_PATH),
            data_sha256=JsonGet(
                step_name=preprocess.name, property_file=data_report, json_path="input.sha256"
            ),
            code_digest=code_digest(trees.values()),
            parameters=context.parameters,
        ),
        retry_policies=[SERVICE_RETRIES],
    )
    deploy = LambdaStep(
        "Deploy",
        description="Asks the deploy function to converge; a pending version is left alone.",
        lambda_func=Lambda(
            function_arn=account.function_arn(account.deploy_function), session=session
        ),
        inputs={"model_package_arn": register.properties.ModelPackageArn},
        outputs=[
            LambdaOutput(name, LambdaOutputTypeEnum.String)
            for name in ("status", "endpoint_name", "model_package_arn", "message")
        ],
    )
    gate = _gate_step(context, measured, passed=[register, deploy])
    return Pipeline(
        name=account.pipeline_name,
        parameters=list(context.parameters.values()),
        steps=[preprocess, train, evaluate, gate],
        sagemaker_session=session,
        pipeline_definition_config=PipelineDefinitionConfig(use_custom_job_prefix=False),
    )


def _sdk_parameters(account: Account) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for parameter in declare(account, images.training_image(account.region, "ml.c5.2xlarge")):
        name, default = parameter.name, parameter.default
        if isinstance(default, int):
            made[name] = ParameterInteger(name, default_value=default)
        elif isinstance(default, float):
            made[name] = ParameterFloat(name, default_value=default)
        else:
            choices = list(parameter.choices) or None
            made[name] = ParameterString(name, default_value=default, enum_values=choices)
    return made


def _preprocess_step(context: Context) -> tuple[ProcessingStep, PropertyFile]:
    names = ("train", "test", "unlabelled", "counterfactual", "vocabulary", "report")
    report = PropertyFile(name="DataReport", output_name="report", path="data_report.json")
    arguments: list[Any] = [
        *("--input", f"{PROCESSING}/input/raw"),
        *("--counterfactual-input", f"{PROCESSING}/input/counterfactual"),
        *("--resource-config", "/opt/ml/config/resourceconfig.json"),
    ]
    for name in names:
        arguments += [f"--{name}", f"{PROCESSING}/output/{name}"]
    for parameter, flag in DATA_PARAMETERS.items():
        arguments += [flag, context.parameters[parameter].to_string()]
    step = processing_step(
        context,
        "Preprocess",
        inputs=[
            input_from("raw", context.parameters["InputDataUrl"]),
            input_from("counterfactual", context.parameters["CounterfactualDataUrl"]),
        ],
        outputs=[output_to(context, "Preprocess", name) for name in names],
        arguments=arguments,
        # Every host is given all of the data: sharding by S3 key would give an archive, one key,
        # to one host and nothing to the others, and each host needs all training text.
        instance_count=context.parameters["ProcessingInstanceCount"],
        property_file=report,
        description="Encodes the reviews; builds the dictionary from the training text only.",
    )
    return step, report


def _train_step(context: Context, preprocess: ProcessingStep) -> TrainingStep:
    parameters = context.parameters
    bucket = context.account.bucket
    trainer = ContentAddressedTrainer(
        training_image=parameters["TrainingImageUri"],
        role=context.account.role_arn,
        base_job_name=f"{context.account.pipeline_name}-train",
        sagemaker_session=context.session,
        source_code=SourceCode(
            source_dir=context.upload_folder("train"),
            entry_script="train.py",
            requirements=REQUIREMENTS,
        ),
        compute=Compute(
            instance_type=parameters["TrainingInstanceType"],
            instance_count=parameters["TrainingInstanceCount"],
            volume_size_in_gb=30,
        ),
        distributed=Torchrun(),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=MAX_RUNTIME_S),
        hyperparameters=_hyperparameters(context) | {"checkpoint-dir": CHECKPOINTS},
        checkpoint_config=CheckpointConfig(s3_uri=_checkpoint_uri(context), local_path=CHECKPOINTS),
        output_data_config=OutputDataConfig(
            s3_output_path=run_prefix(bucket, "Train"), compression_type="GZIP"
        ),
    )
    channels = [
        InputData(channel_name=name, data_source=output_uri(preprocess, name))
        for name in ("train", "unlabelled", "counterfactual", "vocabulary")
    ]
    return TrainingStep(
        "Train",
        description="Trains the LSTM; a slice of the training reviews decides when to stop.",
        step_args=trainer.train(input_data_config=channels),
        cache_config=CACHE,
        retry_policies=JOB_RETRIES,
    )


def _hyperparameters(context: Context) -> dict[str, Any]:
    return {flag: context.parameters[name].to_string() for name, flag in HYPERPARAMETERS.items()}


def _checkpoint_uri(context: Context) -> Join:
    """A prefix that only runs with the same code and settings share; of other data, none goes on.

    It must not name the execution: it is part of the step's cache key, and a new run is to go on
    from where a killed one stood.
    """
    names = (*DATA_PARAMETERS, *HYPERPARAMETERS)
    code = "-".join(context.trees[job].digest for job in ("preprocess", "train"))
    settings = Join(on="_", values=[context.parameters[name].to_string() for name in names])
    return Join(on="/", values=[f"s3://{context.account.bucket}/checkpoints", code, settings])


def _evaluate_step(
    context: Context, preprocess: ProcessingStep, train: TrainingStep, data_report: PropertyFile
) -> tuple[ProcessingStep, PropertyFile]:
    report = PropertyFile(name="EvaluationReport", output_name="evaluation", path="evaluation.json")
    inputs = {
        "model": train.properties.ModelArtifacts.S3ModelArtifacts,
        "test": output_uri(preprocess, "test"),
        "train": output_uri(preprocess, "train"),
        "data-report": output_uri(preprocess, data_report.output_name),
        "counterfactual": context.parameters["CounterfactualTestUrl"],
        "production": context.parameters["ProductionEvaluationUrl"],
    }
    arguments: list[Any] = ["--output", f"{PROCESSING}/output/evaluation"]
    for name in inputs:
        arguments += [f"--{name}", f"{PROCESSING}/input/{name}"]
    # In the cache key on purpose: a report must not name a commit or a bar that is not its own.
    for name in (*REPORTED_PARAMETERS, *HYPERPARAMETERS):
        arguments += ["--made-of", name, context.parameters[name].to_string()]
    arguments += ["--made-of", "code digest", code_digest(context.trees.values())]
    step = processing_step(
        context,
        "Evaluate",
        inputs=[input_from(name, uri) for name, uri in inputs.items()],
        outputs=[output_to(context, "Evaluate", "evaluation")],
        arguments=arguments,
        property_file=report,
        description="Measures model and baseline on the test reviews, which training never sees.",
    )
    return step, report


def _gate_step(context: Context, measured: Callable[[str], JsonGet], passed: list[Any]) -> Any:
    """Accurate enough, far enough above the baseline, hardly worse than the version in production.

    Each bar has a fail step of its own.
    """
    minimum = context.parameters["MinAccuracy"]
    accuracy, advantage = measured(ACCURACY_PATH), measured(ADVANTAGE_PATH)
    least = context.parameters["MinAdvantageOverBaseline"]
    drop, most = measured(DROP_PATH), context.parameters["MaxAccuracyDrop"]
    production_gate = ConditionStep(
        "ProductionGate",
        description="Lets a model through only if production is hardly better on the same data.",
        conditions=[ConditionLessThanOrEqualTo(left=drop, right=most)],
        if_steps=passed,
        else_steps=[
            _fail_step(
                "WorseThanProduction",
                ("Test accuracy", accuracy, "is", drop, "below that of the version in production"),
                ("on the same data: more than MaxAccuracyDrop", most.to_string()),
            )
        ],
    )
    baseline_gate = ConditionStep(
        "BaselineGate",
        description="Lets a model through only if it is far enough above the baseline.",
        conditions=[ConditionGreaterThanOrEqualTo(left=advantage, right=least)],
        if_steps=[production_gate],
        else_steps=[
            _fail_step(
                "BelowBaseline",
                ("Test accuracy", accuracy, "against", measured(BASELINE_PATH)),
                ("of the NBSVM baseline: the difference", advantage),
                ("is below MinAdvantageOverBaseline", least.to_string()),
            )
        ],
    )
    return ConditionStep(
        "AccuracyGate",
        description="Lets a model through to the registry only if it is accurate enough.",
        conditions=[ConditionGreaterThanOrEqualTo(left=accuracy, right=minimum)],
        if_steps=[baseline_gate],
        else_steps=[
            _fail_step(
                "AccuracyTooLow",
                ("Test accuracy", accuracy, "is below MinAccuracy", minimum.to_string()),
            )
        ],
    )


def _fail_step(name: str, *words: tuple[Any, ...]) -> FailStep:
    return FailStep(name, error_message=Join(on=" ", values=list(chain.from_iterable(words))))
