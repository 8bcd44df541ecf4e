"""The `sentiment` command: parse, call, turn errors into one line; nothing else."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pipeline import commands
from pipeline.account_commands import add_account
from pipeline.control import add_control, add_strict
from pipeline.errors import SentimentError
from pipeline.parameters import declare
from pipeline.reviewing import add_reviewing
from pipeline.settings import LOCAL_ACCOUNT_ID, TARGETS, Settings, expand
from pipeline.stack.parser import add_stack
from pipeline.watching import add_watching

Command = Callable[[argparse.Namespace, Settings], int]

DESCRIPTION = """\
Sentiment of movie reviews: train, register, approve, deploy and ask, on AWS or, with the same
pipeline definition, on this machine without an account."""

EPILOG = """\
a first tour:
  sentiment run                                    train on the bundled sample
  sentiment registry list                          see the version it registered
  sentiment registry approve 1 --reason 'first'    have it served
  sentiment predict 'Not a dull moment.'           ask it
  sentiment serve                                  website and API on http://127.0.0.1:8000

`sentiment COMMAND --help` says more. Exit status: 0 done, 1 failed (one line on stderr says why),
2 wrong usage."""

RUN_EPILOG = """\
examples:
  sentiment run                                        the bundled sample
  sentiment run --data imdb --approve                  download, train, approve, serve, ask
  sentiment run --data ~/aclImdb_v1.tar.gz             an archive laid out like aclImdb
  sentiment run --data ./reviews                       a folder laid out like it
  sentiment run --data s3://bucket/reviews/ --target aws
  sentiment run --parameter Epochs=5 --parameter MinAccuracy=0.9

parameters:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name or reason may hold what it cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        settings = _settings(options)
        command: Command = options.command
        return command(options, settings)
    except KeyboardInterrupt:
        print("interrupted; what was started goes on (see: sentiment status)", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        print(f"sentiment: {line}", file=sys.stderr)
        return 1


def explain(error: Exception) -> str | None:
    """An error as one line for the user; None for one that is a defect of ours."""
    import sqlite3

    from botocore.exceptions import BotoCoreError, ClientError

    from pipeline.local import LocalAccountError

    if isinstance(error, SentimentError | LocalAccountError):
        text = str(error)
    elif isinstance(error, ClientError):
        answer = error.response["Error"]
        text = f"{error.operation_name} was refused: {answer['Message']} ({answer['Code']})"
    elif isinstance(error, BotoCoreError):
        text = f"AWS cannot be asked: {error}"
    elif isinstance(error, sqlite3.Error):
        text = f"the account's database, account.db in its home, cannot be used: {error}"
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror or error}"
    else:
        return None
    return " ".join(text.split())


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _parser_of("sentiment", DESCRIPTION, EPILOG)
    _add_global_options(parser, defaults=True)
    adder = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(adder)
    add_watching(adder, _command)
    add_control(adder, _command)
    _add_registry(adder)
    _add_asking(adder)
    add_account(adder, _command)
    add_stack(adder, _command)
    return parser


def _add_run(adder: Any) -> None:
    account = Settings().account(LOCAL_ACCOUNT_ID)
    lines = [
        f"  {one.name:<22} {one.about} ({' | '.join(one.choices) or one.default})"
        for one in declare(account, "by TrainingInstanceType")
    ]
    parser = _command(
        adder,
        "run",
        commands.run,
        "run the pipeline and follow it to the end",
        RUN_EPILOG + "\n".join(lines),
    )
    parser.add_argument(
        "--data", metavar="D", help="reviews: archive, folder, s3:// prefix or imdb [the sample]"
    )
    parser.add_argument(
        "--parameter",
        metavar="Name=Value",
        action="append",
        default=[],
        help="set a parameter of the pipeline; may be repeated",
    )
    parser.add_argument(
        "--approve",
        action="store_true",
        help="approve the version, wait until it is served, and ask it once through the API",
    )
    add_strict(parser)


def _add_registry(adder: Any) -> None:
    registry = adder.add_parser("registry", help="see and decide on model versions")
    verbs = registry.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _command(verbs, "list", commands.registry_list, "list the versions, the newest first")
    show = _command(verbs, "show", commands.registry_show, "show all that is known of a version")
    approve = _command(
        verbs,
        "approve",
        commands.approve,
        "approve a version: it is served, now or when the endpoint is free",
        "example:\n  sentiment registry approve 3 --reason 'better on short reviews'",
    )
    reject = _command(
        verbs,
        "reject",
        commands.reject,
        "reject a version: if it is served, the one approved before is served again",
        "example:\n  sentiment registry reject 3 --reason 'blind to irony'",
    )
    for parser in (show, approve, reject):
        parser.add_argument("version", metavar="V", type=int, help="number of the version")
    for parser in (approve, reject):
        # Not required by the parser, so that its absence is told like any other bad input.
        parser.add_argument("--reason", help="why; it is kept with the version (required)")
    add_reviewing(verbs, _command)


def _add_asking(adder: Any) -> None:
    predict = _command(
        adder,
        "predict",
        commands.predict,
        "positive or negative, the probability of positive, and who says so",
        "examples:\n  sentiment predict 'Not a dull moment.'\n"
        "  sentiment predict - < reviews.txt      one review a line",
    )
    predict.add_argument("text", metavar="TEXT", help="a review, or - for standard input")
    evaluate = _command(
        adder,
        "evaluate",
        commands.evaluate,
        "measure a version on a labelled file",
        "The file is a CSV or TSV with the columns Text,Sentiment or review,sentiment or\n"
        "text,label; labels are positive/negative, pos/neg or 1/0.\n\n"
        "example:\n  sentiment evaluate reviews.tsv --version 3 --predictions rows.csv",
    )
    evaluate.add_argument("file", metavar="FILE", help="the labelled reviews")
    evaluate.add_argument(
        "--version", metavar="V", type=int, help="number of the version [the served one]"
    )
    evaluate.add_argument("--predictions", metavar="OUT.csv", help="keep the probabilities by row")
    _command(adder, "endpoint", commands.endpoint, "what is served, since when, which version")
    serve = _command(adder, "serve", commands.serve, "serve API and website on this machine")
    serve.add_argument("--port", type=int, default=8000, help="[8000]")
    serve.add_argument("--host", default="127.0.0.1", help="[127.0.0.1]")


def _command(
    adder: Any, name: str, command: Command, about: str, epilog: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = adder.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_global_options(parser, defaults=False)
    parser.set_defaults(command=command)
    return parser


def _parser_of(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_global_options(parser: argparse.ArgumentParser, *, defaults: bool) -> None:
    """The options that may stand before the command and after it."""
    group = parser.add_argument_group("global options")
    nothing = None if defaults else argparse.SUPPRESS
    group.add_argument(
        "--home",
        metavar="DIR",
        default=nothing,
        help="folder of all local state [SENTIMENT_HOME, or .sentiment in the clone]",
    )
    group.add_argument(
        "--target", choices=TARGETS, default=nothing, help="[SENTIMENT_TARGET, or local]"
    )
    group.add_argument(
        "--json",
        action="store_true",
        default=False if defaults else argparse.SUPPRESS,
        help="print JSON",
    )


def _settings(options: argparse.Namespace) -> Settings:
    environ = dict(os.environ)
    if options.target:
        environ["SENTIMENT_TARGET"] = options.target
    if getattr(options, "strict", False):
        environ["SENTIMENT_STRICT"] = "1"
    settings = Settings.from_env(environ)
    return replace(settings, home=expand(options.home)) if options.home else settings
