"""What each command of `sentiment stack` does: call the module that knows, print what it says."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import StackError
from pipeline.opening import opened
from pipeline.output import print_json
from pipeline.settings import LOCAL_ACCOUNT_ID, ROOT, Settings

if TYPE_CHECKING:
    from pipeline.stack.cloudformation import Stack, State
    from pipeline.stack.costs import Line
    from pipeline.stack.deployment import Deployment
    from pipeline.stack.removal import Removal
    from pipeline.target import Target

# Imports of boto3 and of modules that need it wait inside the functions: `--help` must not pay.


def plan(options: Namespace, settings: Settings) -> int:
    """Show the change set and the costs."""
    given = _given(options)
    deployment = _deployment(options, settings, given)
    changes = deployment.plan()
    state = deployment.stack.look()
    parameters = {**(state.parameters if state else {}), **given}
    if options.json:
        rows = [asdict(change) for change in changes or []]
        print_json({"changes": rows, "costs": _costs(parameters)})
        return 0
    if changes is None:
        print("nothing would change")
    else:
        from pipeline.display import text_table

        rows_ = [(c.action, c.resource, c.kind, c.replacement) for c in changes]
        print(text_table(("action", "resource", "type", "replacement"), rows_))
    print()
    _print_costs(parameters)
    return 0


def deploy(options: Namespace, settings: Settings) -> int:
    """Make the stack, or bring it up to date."""
    given = _given(options)
    if options.dry_run:
        print_json(_dry_run(options, settings, given))
        return 0
    state = _deployment(options, settings, given).deploy()
    if options.json:
        print_json(dict(state.outputs))
        return 0
    print(f"website   {state.outputs['Url']}")
    print(f"stage     {_stage(options, settings)}")
    print("next      sentiment run --target aws --data imdb")
    return 0


def status(options: Namespace, settings: Settings) -> int:
    """Show the stack's state, its alarms, what could not be delivered, and whether it deploys."""
    from pipeline.stack.deployment import is_stopped

    target, stack = _stack(options, settings)
    state = _existing(stack)
    pages = target.client("cloudwatch").get_paginator("describe_alarms")
    own = {name for kind, name in stack.resources() if kind == "AWS::CloudWatch::Alarm"}
    alarms = {
        alarm["AlarmName"]: alarm["StateValue"]
        for page in pages.paginate(AlarmNamePrefix=f"{stack.name}-")
        for alarm in page["MetricAlarms"]
        if alarm["AlarmName"] in own  # sentiment-dev's begin as sentiment's do
    }
    letters = _dead_letters(target, state)
    stopped = is_stopped(target, target.account.deploy_function)
    if options.json:
        shown = {"stack": state.status, "alarms": alarms, "dead_letters": letters}
        print_json({**shown, "deploy_function_stopped": stopped})
        return 0
    print(f"{'stack':<28} {state.status} {state.reason}".rstrip())
    for name, value in sorted(alarms.items()):
        print(f"{name:<28} {value}")
    print(f"{'dead letters':<28} {letters}")
    if stopped:
        print(f"{'deploy function':<28} stopped (start it again: sentiment stack deploy)")
    return 0


def outputs(options: Namespace, settings: Settings) -> int:
    """Print the stack's outputs."""
    _, stack = _stack(options, settings)
    found = _existing(stack).outputs
    if options.json:
        print_json(dict(found))
        return 0
    for name, value in sorted(found.items()):
        print(f"{name:<18} {value}")
    return 0


def costs(options: Namespace, settings: Settings) -> int:
    """Print what these parameters cost."""
    given = _given(options)
    if options.json:
        print_json(_costs(given))
    else:
        _print_costs(given)
    return 0


def destroy(options: Namespace, settings: Settings) -> int:
    """Remove the stack and all that was made in its name."""
    from pipeline.stack.removal import Remover

    target, stack = _stack(options, settings)
    remover = Remover(target, stack, sys.stderr)
    removal = remover.plan()
    if removal is None:
        print(
            f"there is no stack {stack.name} and nothing of its name; nothing to remove",
            file=sys.stderr,
        )
        return 0
    if options.dry_run or options.json:
        print_json([_item(item) for item in removal.items])
    else:
        for item in removal.items:
            print(f"{item.kind:<28} {item.name}")
    if options.dry_run:
        return 0
    if not options.yes and not _agrees(removal):
        print("nothing is removed", file=sys.stderr)
        return 1
    remover.remove()
    print(f"stack {stack.name} and all that was made in its name are gone", file=sys.stderr)
    return 0


def policies(options: Namespace, settings: Settings) -> int:
    """Print the policies of engineer and reviewer, and what bounds the stack's roles."""
    from pipeline.stack import policies as known
    from pipeline.stack.boundary import boundary

    account = _target(options, settings).account
    made = {
        "boundary": boundary(account, options.data_bucket),
        "engineer": known.engineer(account),
        "reviewer": known.reviewer(account),
    }
    print_json(made[options.role] if options.role else made)
    return 0


def _dry_run(
    options: Namespace, settings: Settings, given: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The requests of a first deployment, without an account to ask."""
    from pipeline.stack import requests
    from pipeline.stack.deployment import site_config, wish

    stage = _stage(options, settings)
    account = replace(settings, target="aws", stage=stage).account(LOCAL_ACCOUNT_ID)
    wanted = wish(ROOT, account.name, stage, "unknown", given)
    drawn = dict.fromkeys(wanted.drawn(None), "<drawn at random>")
    first = wanted.change_set(None, **drawn)
    second = wanted.change_set(None, **drawn, **wanted.code_keys, ImageUri="<image by digest>")
    files = {**wanted.website, "config.json": site_config(ROOT, given)}
    return [
        request.as_json()
        for request in (
            first,
            requests.execute_change_set(wanted.name, first.parameters["ChangeSetName"]),
            *(
                requests.put_package(account.bucket, package.key, package.content)
                for package in (*wanted.packages.values(), wanted.image)
            ),
            requests.start_build(
                f"{account.name}-inference", account.bucket, wanted.image.key, wanted.image_tag
            ),
            second,
            requests.execute_change_set(wanted.name, second.parameters["ChangeSetName"]),
            requests.begin_publishing(account.bucket),
            *requests.website_files("<website bucket>", files),
            requests.invalidate("<distribution>", "<digest>"),
            requests.end_publishing(account.bucket),
        )
    ]


def _deployment(options: Namespace, settings: Settings, given: Mapping[str, str]) -> Deployment:
    from pipeline.commit import source_commit
    from pipeline.stack.deployment import Deployment, wish

    target = _target(options, settings)
    stage = target.settings.stage
    wanted = wish(ROOT, target.account.name, stage, source_commit(ROOT), given)
    return Deployment(target, wanted, ROOT, sys.stderr)


def _stack(options: Namespace, settings: Settings) -> tuple[Target, Stack]:
    from pipeline.stack.cloudformation import Stack

    target = _target(options, settings)
    name = target.account.name
    return target, Stack(target.client("cloudformation"), name, sys.stderr, target.poll_s)


def _target(options: Namespace, settings: Settings) -> Target:
    """The AWS account, whatever --target says: there is no stack elsewhere."""
    return opened(replace(settings, target="aws", stage=_stage(options, settings)))


def _stage(options: Namespace, settings: Settings) -> str:
    return options.stage or settings.stage


def _existing(stack: Stack) -> State:
    state = stack.look()
    if state is None:
        raise StackError(f"there is no stack {stack.name} (make it: sentiment stack deploy)")
    return state


def _given(options: Namespace) -> dict[str, str]:
    given = {}
    for assignment in options.parameter:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise StackError(f"--parameter {assignment!r} is not of the form Name=Value")
        given[name] = value
    template = (ROOT / "lambda" / "template.yaml").read_text("utf-8")
    declared = template.partition("Parameters:\n")[2].partition("\nRules:")[0].splitlines()
    known = [line.strip(" :") for line in declared if line.startswith("  ") and line[2] != " "]
    own = ("Name", "PredictCodeKey", "DeployCodeKey", "ImageUri")
    valid = [name for name in known if name not in own]
    for name in given:
        if name not in valid:
            raise StackError(f"unknown parameter {name!r} (valid: {', '.join(valid)})")
    return given


def _agrees(removal: Removal) -> bool:
    if not sys.stdin.isatty():
        raise StackError("removing needs --yes where nobody can be asked")
    print(f"all of it goes for good. Type the stack's name, {removal.stack}, to go on: ", end="")
    return input().strip() == removal.stack


def _dead_letters(target: Target, state: State) -> int | None:
    url = state.outputs.get("DeadLetters")
    if not url:
        return None
    name = "ApproximateNumberOfMessages"
    answer = target.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(answer["Attributes"][name])


def _item(item: Any) -> dict[str, Any]:
    request = item.request.as_json() if item.request else None
    return {"kind": item.kind, "name": item.name, "request": request}


def _costs(parameters: Mapping[str, str]) -> dict[str, Any]:
    from pipeline.stack import costs as known

    bills = {
        "month_unused": known.monthly(parameters),
        "month_scaled_out": known.scaled_out(parameters),
        "million_predictions": known.per_million(parameters),
    }
    table = known.price_table()
    return {
        "as_of": table["as_of"],
        "region": table["region"],
        "source": table["source"],
        **{name: [asdict(line) for line in lines] for name, lines in bills.items()},
        **{f"{name}_usd": _rounded(known.total(lines)) for name, lines in bills.items()},
    }


def _print_costs(parameters: Mapping[str, str]) -> None:
    from pipeline.stack import costs as known

    table = known.price_table()
    _print_bill("a month in which nobody uses it", known.monthly(parameters))
    if more := known.scaled_out(parameters):
        _print_bill("on top, all machines at work", more)
    _print_bill("a million predictions", known.per_million(parameters))
    print(f"USD, prices of {table['region']} as of {table['as_of']} (pipeline/stack/prices.json)")


def _print_bill(heading: str, lines: Sequence[Line]) -> None:
    from pipeline.stack.costs import total

    print(f"{heading:<34} {_amount(total(list(lines))):>8}")
    for line in lines:
        print(f"  {line.what:<32} {_amount(line.usd):>8}  {line.how}")


def _amount(usd: float | None) -> str:
    return "unknown" if usd is None else f"{usd:.2f}"


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 2)
