"""Selective execution: chosen steps run, the others' results come from a reference execution.

Source: SageMaker API, SelectiveExecutionConfig.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.local.definition import Step, branches, dependencies, every_step, invalid

if TYPE_CHECKING:
    from pipeline.local.account import Account

Document = dict[str, Any]


class Selection:
    """Which steps run (`runs`), and which only lend their result (`reuses`)."""

    def __init__(self, steps: list[Step], config: Mapping[str, Any], source: str) -> None:
        self.source = source
        self.runs = {item["StepName"] for item in config["SelectedSteps"]}
        known = {step["Name"]: step for step in every_step(steps)}
        unknown = self.runs - known.keys()
        if unknown:
            raise invalid(f"selected step {sorted(unknown)[0]} is not in the pipeline definition")
        self.around = _conditions_around(steps)
        wanted, open_ = set(self.runs), list(self.runs)
        while open_:
            name = open_.pop()
            condition, _ = self.around.get(name, (None, ""))
            needs = dependencies(known[name]) | ({condition} if condition else set())
            for needed in needs - wanted:
                wanted.add(needed)
                open_.append(needed)
        self.reuses = wanted - self.runs

    def includes(self, name: str) -> bool:
        """Whether the step takes part at all."""
        return name in self.runs or name in self.reuses


def _conditions_around(steps: list[Step]) -> dict[str, tuple[str, str]]:
    """The condition, and which of its branches, that each step in a branch is in."""
    return {
        inner["Name"]: (step["Name"], name)
        for step in every_step(steps)
        for name, branch in branches(step)
        for inner in branch
    }


def selection(account: Account, execution: Document, steps: list[Step]) -> Selection | None:
    """The checked selection of an execution, or None; a ServiceError says what is wrong with it."""
    config = execution.get("SelectiveExecutionConfig")
    if not config:
        return None
    source = config.get("SourcePipelineExecutionArn") or _newest(account, execution)
    if account.store.get("execution", source) is None:
        raise invalid(f"the reference execution {source} does not exist")
    chosen = Selection(steps, config, source)
    for name in sorted(chosen.reuses):
        document = account.store.get("step", f"{source}/{name}")
        if document is None or document["StepStatus"] != "Succeeded":
            raise invalid(
                f"step {name} is not selected and did not succeed in the reference execution "
                f"{source.rpartition('/')[2]}: select it too"
            )
        if document["StepType"] == "Condition":
            _check_branch(chosen, name, document["Properties"]["Outcome"])
    return chosen


def _check_branch(chosen: Selection, condition: str, outcome: str) -> None:
    """Refuse a selected step in the branch that a condition, whose outcome is reused, leaves."""
    untaken = "ElseSteps" if outcome == "True" else "IfSteps"
    for name, place in chosen.around.items():
        if place == (condition, untaken) and chosen.includes(name):
            raise invalid(
                f"step {name} is in the {untaken} of {condition}, which the reference execution "
                f"{chosen.source.rpartition('/')[2]} did not take: select {condition} too"
            )


def _newest(account: Account, execution: Document) -> str:
    """The newest other execution of the pipeline that has ended."""
    for item in reversed(account.store.every("execution", parent=execution["PipelineName"])):
        ended = item["PipelineExecutionStatus"] in ("Succeeded", "Failed", "Stopped")
        if ended and item["PipelineExecutionArn"] != execution["PipelineExecutionArn"]:
            arn: str = item["PipelineExecutionArn"]
            return arn
    raise invalid("selective execution needs a reference execution that has ended; there is none")
