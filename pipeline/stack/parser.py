"""The options of `sentiment stack`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pipeline.settings import STAGES
from pipeline.stack import commands

AddCommand = Callable[..., argparse.ArgumentParser]

PARAMETERS = """\
A parameter of the template that is not given keeps the value it had, or its default; which there
are: lambda/template.yaml. Some that are often wanted:
  --parameter AlarmEmail=me@example.org          who is told of alarms and failed roll-outs
  --parameter EndpointMode=RealTime              machines of its own, canary roll-outs
  --parameter MonthlyBudgetUsd=20                mail at 80 % of it
  --parameter DataBucket=my-reviews              another bucket that runs may read
  --parameter WafRequestsPer5Minutes=500         a firewall that bounds each address"""

BOUNDARY = """\
Before the first deployment an administrator makes the boundary, once a stage and region:
  sentiment stack policies --role boundary > boundary.json
  aws iam create-policy --policy-name sentiment-dev-boundary-us-east-1 \\
      --policy-document file://boundary.json"""


def add_stack(adder: Any, add_command: AddCommand) -> None:
    """Add `stack` and its commands; `add_command` makes one as the others are made."""
    stack = adder.add_parser("stack", help="website, API and roll-out on AWS: deploy and remove")
    verbs = stack.add_subparsers(title="commands", metavar="COMMAND", required=True)
    plan = add_command(
        verbs,
        "plan",
        commands.plan,
        "show what deploying would change, and what it would cost",
        PARAMETERS,
    )
    deploy = add_command(
        verbs, "deploy", commands.deploy, "make the stack, or bring it up to date", PARAMETERS
    )
    status = add_command(verbs, "status", commands.status, "how the stack stands, and its alarms")
    outputs = add_command(verbs, "outputs", commands.outputs, "what the stack made, by name")
    costs = add_command(
        verbs,
        "costs",
        commands.costs,
        "what it costs a month, and a million predictions; asks no account",
        PARAMETERS,
    )
    destroy = add_command(
        verbs,
        "destroy",
        commands.destroy,
        "list what goes, ask, and remove it all",
        "Versions, reports and everything else in the stack's buckets go with it.",
    )
    policies = add_command(
        verbs,
        "policies",
        commands.policies,
        "print what engineer and reviewer must be allowed, and what bounds the stack's roles",
        BOUNDARY,
    )
    for parser in (plan, deploy, status, outputs, costs, destroy, policies):
        parser.add_argument("--stage", choices=STAGES, help="[SENTIMENT_STAGE, or dev]")
    for parser in (plan, deploy, costs):
        parser.add_argument(
            "--parameter",
            metavar="Name=Value",
            action="append",
            default=[],
            help="set a parameter of the template; may be repeated",
        )
    for parser in (deploy, destroy):
        parser.add_argument(
            "--dry-run", action="store_true", help="print the requests and send none"
        )
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    policies.add_argument(
        "--role", choices=("boundary", "engineer", "reviewer"), help="only this one"
    )
    policies.add_argument(
        "--data-bucket",
        metavar="NAME",
        default="",
        help="another bucket that runs may read, for the boundary (DataBucket of the stack)",
    )
