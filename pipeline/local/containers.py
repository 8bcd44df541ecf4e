"""Containers as processes: one a host, each with a folder that it sees as /opt/ml.

Every literal `/opt/ml` in arguments, environment, hyperparameters and the SDK's generated scripts
is replaced by a short link in the temporary folder (the generated scripts do not quote their paths,
so a home or an environment with a space in its path must not show through). In strict mode nothing
is replaced: the process runs in namespaces of its own, where /opt/ml is that folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local import sandbox
from pipeline.local.errors import StepError, StepStoppedError
from pipeline.local.launch import end_rest

if TYPE_CHECKING:
    from pipeline.local.account import Account

ML = "/opt/ml"
# /opt/ml and what is below it; not a longer name, or a path of something else that ends in it.
ML_PATH = re.compile(rf"(?:(?<=://)|(?<![\w/.-])){ML}(?![\w-])")
LINKS = "links"  # the file that says where the links to a host's folder are
POLL_S = 0.02
FAILURE_BYTES = 1024
LOOPBACK = "127.0.0.1"
INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
# Inputs that the SDK itself generates scripts into, which name /opt/ml literally.
GENERATED = ("sm_drivers", "entrypoint", "sagemaker_remote_function_bootstrap")
LAUNCHER = Path(__file__).with_name("launch.py")

Document = dict[str, Any]
Stopped = Callable[[], bool]


@dataclass(frozen=True)
class Container:
    """One host of a job: its name, its folder (`folder`/ml is its /opt/ml) and what it runs."""

    host: str
    folder: Path
    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    link: Path


def container_environment(account: Account, *parts: Any) -> dict[str, str]:
    """What every container here starts with, overridden by each of the parts in turn."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": sandbox.TEMPORARY if sandbox.is_strict() else tempfile.gettempdir(),
        "LOGNAME": "root",  # as in SageMaker's containers; as anybody else @step calls sudo
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # A job may install what is missing only from what is already here: there is no network.
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "AWS_REGION": account.region,
        "AWS_DEFAULT_REGION": account.region,
        # The hosts of a job meet on the loopback interface.
        "GLOO_SOCKET_IFNAME": INTERFACE,
    }
    for part in parts:
        environment |= {key: str(value) for key, value in part.items()}
    return environment


def remap(text: str, ml: Path) -> str:
    """The text with `ml` for every /opt/ml."""
    return ML_PATH.sub(lambda _: str(ml), text)


@contextmanager
def short_link(target: Path) -> Iterator[Path]:
    """A path without spaces that leads to `target`, and `python` beside it to this environment.

    Both are in a temporary folder that launch.py removes; this makes sure, or, after a kill,
    `end_orphans`, for which it is written down beside the target.
    """
    folder = Path(tempfile.mkdtemp(prefix="ml-"))
    target.with_name(LINKS).write_text(str(folder))
    link = folder / "ml"
    link.symlink_to(target, target_is_directory=True)
    (folder / "python").symlink_to(sys.prefix, target_is_directory=True)
    try:
        yield link
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def run_containers(
    containers: Sequence[Container],
    stopped: Stopped,
    *,
    max_runtime_s: float | None = None,
    tick: Callable[[], object] = lambda: None,
) -> list[Document]:
    """Run the hosts of a job side by side to their end; each one's resource use.

    `tick` is called now and then while they run. Raises StepError when one fails (the others are
    ended) or time is up, StepStoppedError when `stopped()` turned true.
    """
    prepare_generated(containers)
    deadline = time.monotonic() + max_runtime_s if max_runtime_s else None
    ended: BaseException | None = None
    with ExitStack() as stack:
        processes = [start_container(item, stack, [c.host for c in containers])
                     for item in containers]  # fmt: skip
        while any(process.poll() is None for process in processes):
            tick()
            if ended is None:
                ended = _reason_to_end(containers, processes, stopped, deadline, max_runtime_s)
                if ended:
                    for process in processes:
                        _close(process)
            time.sleep(POLL_S)
        for process, item in zip(processes, containers, strict=True):
            _close(process)
            end_rest(str(item.folder / "usage.json"))
    if isinstance(ended, StepStoppedError) or getattr(ended, "kind", "") == "MaxRuntimeExceeded":
        raise ended  # type: ignore[misc]
    failed = ended or _failure(containers, processes)
    if failed:
        raise failed
    return [json.loads((item.folder / "usage.json").read_text()) for item in containers]


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()


def _reason_to_end(
    containers: Sequence[Container],
    processes: Sequence[subprocess.Popen[bytes]],
    stopped: Stopped,
    deadline: float | None,
    limit_s: float | None,
) -> BaseException | None:
    if stopped():
        return StepStoppedError(f"{containers[0].folder.parent.name} was stopped")
    if deadline is not None and time.monotonic() > deadline:
        return StepError(f"it ran longer than MaxRuntimeInSeconds ({limit_s:g} s)",
                         "MaxRuntimeExceeded")  # fmt: skip
    return _failure(containers, processes)


def _failure(
    containers: Sequence[Container], processes: Sequence[subprocess.Popen[bytes]]
) -> StepError | None:
    """The first host that has failed, if any has."""
    for container, process in zip(containers, processes, strict=True):
        status = process.poll()
        if status:
            reason = failure_reason(container.folder, container.log, status)
            where = f"{container.host}: " if len(containers) > 1 else ""
            # A process that a signal ended is what losing the instance is on AWS.
            # Its launcher says 128 and the signal's number; a script may exit with any other.
            lost = status < 0 or status - 128 in signal.valid_signals()
            kind = "SageMaker.JOB_INTERNAL_ERROR" if lost else "AlgorithmError"
            return StepError(where + reason, kind)
    return None


def prepare_generated(containers: Sequence[Container]) -> None:
    """Let the SDK's generated scripts find /opt/ml and, of several hosts, the first one."""
    port = free_port()
    for container in containers:
        ml = container.folder / "ml"
        for name in GENERATED:
            for parent in (ml / "input/data" / name, ml / "processing/input" / name):
                for path in (*parent.rglob("*.sh"), *parent.rglob("*.py")):
                    text = remap(path.read_text(), container.link)
                    if path.name == "environment.py":  # sagemaker/train/container_drivers/scripts
                        text = text.replace('MASTER_ADDR = "algo-1"', f'MASTER_ADDR = "{LOOPBACK}"')
                        text = text.replace("MASTER_PORT = 7777", f"MASTER_PORT = {port}")
                    path.write_text(text)


def sandboxed(command: Sequence[str], folder: Path, hosts: Sequence[str]) -> list[str]:
    """The command where these hosts have names and, in strict mode, `folder`/ml is /opt/ml."""
    names = folder / "hosts"
    names.write_text(f"{LOOPBACK} localhost {' '.join(hosts)}\n")
    if not sandbox.is_strict():
        return sandbox.command_line(command, hosts=str(names))
    temporary = folder / "ml-tmp"
    temporary.mkdir(exist_ok=True)
    return sandbox.command_line(
        command, ml=str(folder / "ml"), temporary=str(temporary), hosts=str(names)
    )


def start_container(
    container: Container, stack: ExitStack, hosts: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Start a host's process behind the launcher, which ends it when its owner is gone."""
    # The SDK's scripts find Python on the path and call it unquoted.
    strict = sandbox.is_strict()
    python = Path(sandbox.PYTHON) if strict else container.link.with_name("python")
    path = f"{python / 'bin'}{os.pathsep}{container.environment['PATH']}"
    environment = {**container.environment, "PATH": path}
    command = [remap(part, container.link) for part in container.command]
    if strict or (len(hosts) > 1 and sandbox.is_available()):
        command = sandboxed(command, container.folder, hosts)
    links = "" if strict else str(container.link.parent)
    output = stack.enter_context(container.log.open("ab"))
    return subprocess.Popen(  # noqa: S603 - the command is the container's own
        [sys.executable, "-S", str(LAUNCHER), str(container.folder / "usage.json"), links,
         *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env={key: remap(value, container.link) for key, value in environment.items()},
        cwd=container.folder / "ml",
        start_new_session=True,
    )  # fmt: skip


def end_orphans(folder: Path) -> None:
    """End and remove what is left of the commands whose records are in the folders of `folder`."""
    for record in folder.glob("*/usage.json.group"):
        end_rest(str(record).removesuffix(".group"))
    for links in folder.glob(f"*/{LINKS}"):
        with suppress(OSError):  # launch.py was there first
            _remove_links(Path(links.read_text()))


def _remove_links(folder: Path) -> None:
    """Nothing but links is removed: a job outside strict mode may write where the file is."""
    for path in folder.iterdir():
        if path.is_symlink():
            path.unlink()
    folder.rmdir()


def failure_reason(folder: Path, log: Path, status: int) -> str:
    """Why a job failed: its failure file, else the last line it printed."""
    failure = folder / "ml/output/failure"
    text = failure.read_text(errors="replace") if failure.is_file() else ""
    if not text.strip():
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - FAILURE_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        text = lines[-1] if lines else "it printed nothing"
    return f"exit code {status}: {text.strip()[:FAILURE_BYTES]}"
