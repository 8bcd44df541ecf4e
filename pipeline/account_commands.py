"""`sentiment account`: serve the local account to any AWS client, show its space, clean it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from shlex import quote
from typing import Any

from pipeline.errors import SettingsError
from pipeline.settings import Settings

PORT = 4566
SERVE_EPILOG = f"""\
example, in two shells:
  sentiment account serve

  eval "$(sentiment account env)"
  aws --endpoint-url http://127.0.0.1:{PORT} sagemaker list-pipelines
  python your_script.py

Requests are signed with the account's key, which is yours alone. Nothing leaves this machine."""
ENV_EPILOG = """\
example:
  eval "$(sentiment account env)"
"""


def add_account(adder: Any, command: Callable[..., Any]) -> None:
    """Add the group to the parser; `command` is the command line's way to add one command."""
    group = adder.add_parser("account", help="the local account: serve it, its space, clean it")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = command(verbs, "serve", serve, "answer any AWS client over HTTP", SERVE_EPILOG)
    parser.add_argument("--port", type=int, default=PORT, help=f"[{PORT}]")
    about = "print the variables with which an AWS client reaches `serve`: address, key, region"
    parser = command(verbs, "env", env, about, ENV_EPILOG)
    parser.add_argument("--port", type=int, default=PORT, help=f"of `serve` [{PORT}]")
    command(verbs, "du", du, "show where the space of the home is")
    parser = command(verbs, "clean", clean, "show what can be deleted, and with --yes delete it")
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    parser.add_argument(
        "--logs-older-than", metavar="DAYS", type=float, help="logs of that age too [none]"
    )


def serve(options: Namespace, settings: Settings) -> int:
    """Answer AWS clients on the loopback interface until interrupted."""
    account = _account(settings)
    from pipeline.local.http_api import HOST, bind

    server = bind(account, options.port)
    url = f"http://{HOST}:{server.port}"
    home = "" if settings.home == Settings().home else f"--home {quote(str(account.home))} "
    port = "" if server.port == PORT else f" --port {server.port}"
    print(
        f"the local account answers AWS clients on {url}; Ctrl-C ends\n"
        f'another shell is set up for it by: eval "$(sentiment {home}account env{port})"',
        file=sys.stderr,
        flush=True,
    )
    try:
        server.serve_forever()
    finally:
        server.server_close()
    return 0


def env(options: Namespace, settings: Settings) -> int:
    """Print the variables of a client's environment as shell commands; JSON where asked."""
    from pipeline.local.clients import HOST
    from pipeline.local.signatures import client_variables

    account = _account(settings)
    url = f"http://{HOST}:{options.port}"
    variables = client_variables(account.credentials, url, account.region)
    if options.json:
        print(json.dumps(variables))
    else:
        print("\n".join(f"export {name}={quote(value)}" for name, value in variables.items()))
    return 0


def du(options: Namespace, settings: Settings) -> int:
    """Print each part of the home and its size."""
    from pipeline.display import text_table
    from pipeline.local.housekeeping import usage

    account = _account(settings)
    parts = usage(account)
    total = sum(size for _, size in parts)
    if options.json:
        print(json.dumps({"home": str(account.home), "total_bytes": total, "parts": dict(parts)}))
        return 0
    rows = [[_megabytes(size), name] for name, size in [*parts, (f"in {account.home}", total)]]
    print(text_table(("MB", "where"), rows))
    return 0


def clean(options: Namespace, settings: Settings) -> int:
    """Print what can go; delete it when told to."""
    from pipeline.display import text_table
    from pipeline.local.housekeeping import delete, leftovers

    account = _account(settings)
    found = leftovers(account, logs_older_than_days=options.logs_older_than)
    total = sum(item.size_bytes for item in found)
    if options.json:
        rows = [{"path": str(one.path), "why": one.why, "bytes": one.size_bytes} for one in found]
        print(json.dumps({"deleted": options.yes, "total_bytes": total, "leftovers": rows}))
    elif found:
        rows_ = [
            [_megabytes(one.size_bytes), str(one.path.relative_to(account.home)), one.why]
            for one in found
        ]
        print(text_table(("MB", "what", "why"), rows_))
    if options.yes:
        deleted = delete(found)
        freed = _megabytes(sum(item.size_bytes for item in deleted))
        print(f"deleted {len(deleted)} of these, {freed} MB", file=sys.stderr)
    elif found:
        print(f"nothing is deleted yet: --yes frees {_megabytes(total)} MB", file=sys.stderr)
    else:
        print("there is nothing to clean", file=sys.stderr)
    return 0


def _account(settings: Settings) -> Any:
    """The local account as it is kept; a new one gets our images and functions."""
    if settings.target != "local":
        raise SettingsError("sentiment account is about the local account: use --target local")
    from pipeline.local.account import open_account
    from pipeline.target import open_target

    open_target(settings)
    return open_account(settings.home.absolute())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"
