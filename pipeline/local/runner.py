"""The process behind StartPipelineExecution: `python -m pipeline.local.runner HOME ARN`."""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local.errors import LocalAccountError, StepError, StepStoppedError

if TYPE_CHECKING:
    from pipeline.local.account import Account

UNFINISHED = ("Executing", "Stopping")


def execution_lock(account: Account, arn: str) -> Path:
    """Held by the runner of an execution."""
    return account.home / "locks" / f"execution-{arn.rpartition('/')[2]}"


def finish(account: Account, arn: str, status: str, reason: str | None = None) -> None:
    """Record how an unfinished execution ended, and end every step it left unfinished."""
    step_status = "Stopped" if status == "Stopped" else "Failed"
    with account.store.transaction():
        for step in account.store.every("step", parent=arn):
            if step["StepStatus"] in ("Starting", *UNFINISHED):
                step |= {"StepStatus": step_status, "EndTime": time.time()}
                step["FailureReason"] = reason
                account.store.put("step", f"{arn}/{step['StepName']}", step)

        def change(document: dict[str, Any]) -> dict[str, Any] | None:
            if document["PipelineExecutionStatus"] not in UNFINISHED:
                return None
            return {
                **document,
                "PipelineExecutionStatus": status,
                "LastModifiedTime": time.time(),
                "FailureReason": reason,
            }

        account.store.change("execution", arn, change)


def run(account: Account, arn: str) -> None:
    """Run an execution to its end and record how it ended."""
    from pipeline.local.interpreter import Interpreter

    execution = account.store.get("execution", arn)
    if execution is None:
        raise LocalAccountError(f"there is no execution {arn}")
    try:
        Interpreter(account, execution).run()
    except StepStoppedError:
        finish(account, arn, "Stopped")
    except StepError as error:
        finish(account, arn, "Failed", str(error))
    except Exception as error:  # whatever it is, the execution must not be left "Executing"
        traceback.print_exc()
        finish(account, arn, "Failed", f"the runner failed: {type(error).__name__}: {error}")
    else:
        finish(account, arn, "Succeeded")


def main(home: str, arn: str) -> None:
    from pipeline.local.account import open_account

    run(open_account(Path(home)), arn)


if __name__ == "__main__":
    main(*sys.argv[1:])
