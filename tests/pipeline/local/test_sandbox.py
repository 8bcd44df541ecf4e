"""Strict mode: what runs in it sees its own folders, and the rest of the machine read-only."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.local import Function, Image, sandbox, session
from tests.pipeline.local.conftest import wait_until
from tests.pipeline.local.test_launch import is_gone

pytestmark = pytest.mark.skipif(
    not sandbox.is_available(strict=True), reason="the kernel gives no namespaces"
)
OUTSIDE = ("unshare", "--user", "--map-root-user", "--mount")
# Where it can write, of these places.
PLACES = """
import os
def writable(*places):
    found = []
    for place in places:
        try:
            with open(os.path.join(place, "mark"), "w"):
                found.append(place)
        except OSError:
            pass
    return found
"""
SERVER = """
import http.server, os
seen = " ".join([*os.listdir("/opt/ml/model"), *writable("/opt/ml", "/tmp", "/var/tmp")])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
        self.wfile.write(seen.encode())
http.server.HTTPServer(
    ("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler
).serve_forever()
"""
FUNCTION = """
import boto3
def look(event, context):
    boto3.client("s3").put_object(Bucket="b", Key="from-a-function", Body=b"x")
    return {"writable": writable("/tmp", "/var/tmp", ".", os.path.dirname(__file__)),
            "arn": context.invoked_function_arn}
"""


def run(folder: Path, *command: str, python: str = sys.executable) -> Any:
    """Run a command strictly, `folder`/ml its /opt/ml; what it printed."""
    for name in ("ml", "ml-tmp"):
        (folder / name).mkdir(exist_ok=True)
    arguments = [folder / "ml", folder / "ml-tmp", "", *command]
    return subprocess.run(  # noqa: S603 - the sandbox itself
        [python, "-S", sandbox.__file__, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def below_tmp() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=sandbox.TEMPORARY) as folder:
        yield Path(folder)


def test_a_mount_cannot_be_made_writable_again_whoever_the_user_is(tmp_path: Path) -> None:
    done = run(tmp_path, "sh", "-c", "mount -o remount,bind,rw / && touch /var/tmp/left")
    assert done.returncode != 0
    capabilities = run(tmp_path, "grep", "^Cap", "/proc/self/status").stdout.split()
    assert set(capabilities[1::2]) == {"0" * 16}


def test_neither_other_processes_nor_devices_nor_the_kernels_settings_are_reached(
    tmp_path: Path,
) -> None:
    script = f"""
import os
print([name for name in os.listdir("/proc") if name.isdigit()] == ["1", "2"])
for path in ("/proc/sys/kernel/domainname", "/proc/sysrq-trigger", "/dev/kmsg", "/dev/null"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        print(path)
    except OSError:
        pass
try:
    os.kill({os.getpid()}, 0)
except ProcessLookupError:
    print("alone")
"""
    assert run(tmp_path, sys.executable, "-c", script).stdout == "True\n/dev/null\nalone\n"


def test_a_mount_whose_path_is_not_ascii_is_read_only_too(tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="ein Gerät ", dir="/var/tmp"))
    script = 'mount -t tmpfs any "$1" && shift && exec "$@"'
    inner = [sys.executable, "-S", sandbox.__file__, "", str(tmp_path), "", "touch", place / "x"]
    done = subprocess.run(  # noqa: S603 - a machine with such a mount
        [*OUTSIDE, "sh", "-c", script, "sh", place, *inner],
        capture_output=True,
        text=True,
        check=False,
    )
    place.rmdir()
    assert "Read-only file system" in done.stderr


def test_a_mount_that_stays_writable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str, target: str, kind: str, flags: int) -> None:
        if flags & sandbox.MS_REMOUNT and target == "/dev":
            raise PermissionError(1, f"mount {target}")

    monkeypatch.setattr(sandbox, "_mount", refuse)
    monkeypatch.setattr(sandbox, "_is_seen", lambda *_: True)
    monkeypatch.setattr(sandbox, "_mounts", lambda: [(1, "/", 0), (2, "/dev", 0)])
    with pytest.raises(PermissionError, match="mount /dev"):
        sandbox._make_read_only()


def test_of_the_temporary_folder_only_python_and_what_the_command_names_is_seen(
    tmp_path: Path, below_tmp: Path
) -> None:
    python = below_tmp / "environment/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    script, secret = below_tmp / "own/script.sh", below_tmp / "secret"
    script.parent.mkdir()
    script.write_text(
        f"ls {below_tmp} {python}; touch {python.parent}/x {script.parent}/x; echo x >> $0"
    )
    secret.touch()
    done = run(tmp_path, "sh", str(script), python=str(python))
    assert done.stdout.split() == [str(python), f"{below_tmp}:", "environment", "own"]
    assert not (python.parent / "x").exists()
    assert not (script.parent / "x").exists()
    assert not script.read_text().endswith("x\n")


def test_a_signal_ends_the_command_and_a_kill_all_that_it_started(tmp_path: Path) -> None:
    (tmp_path / "ml").mkdir()
    mark = tmp_path / "ml/mark"
    script = 'trap "echo asked; exit 3" TERM; setsid sleep 300 & echo > /opt/ml/mark; wait'
    for number, status, said in ((15, 3, b"asked\n"), (9, -9, b"")):
        with subprocess.Popen(  # noqa: S603 - the sandbox itself
            [*sandbox.command_line(["sh", "-c", script], ml=str(tmp_path / "ml"),
                                   temporary=str(tmp_path))],
            stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            wait_until(mark.exists)
            mine = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.send_signal(number)
            assert process.communicate()[0] == said
        assert process.returncode == status
        for one in mine:
            wait_until(partial(is_gone, int(one)))
        mark.unlink()


def test_the_server_of_a_model_is_held_to_its_folders(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sandbox.STRICT_VARIABLE, "1")
    server = box.tmp / "strict-server.py"
    server.write_text(PLACES + SERVER)
    session(box.home, images={"server:*": Image(entrypoint=(sys.executable, str(server)))})
    box.put("in/a", b"1")
    box.create_config("m", box.register("hi"))
    sagemaker = box.client("sagemaker")
    sagemaker.create_transform_job(
        TransformJobName="t",
        ModelName="m",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}
        },
        TransformOutput={"S3OutputPath": "s3://b/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    sagemaker.get_waiter("transform_job_completed_or_stopped").wait(
        TransformJobName="t", WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )
    assert box.get("out/a.out") == b"word.txt /opt/ml /tmp"


def test_a_function_writes_to_its_temporary_folder_and_to_the_account_only(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sandbox.STRICT_VARIABLE, "1")
    box.put("x", b"x")
    (box.tmp / "functions/strict.py").write_text(PLACES + FUNCTION)
    session(box.home, functions={"look": Function("strict.look", box.tmp / "functions")})
    answer = box.client("lambda").invoke(FunctionName="look", Payload=b"{}")
    assert answer["Payload"].read().decode() == (
        '{"writable": ["/tmp", "."], "arn": "arn:aws:lambda:us-east-1:000000000000:function:look"}'
    )
    assert box.get("from-a-function") == b"x"


def test_a_machine_without_namespaces_is_told_in_one_line() -> None:
    refusing = """
from pipeline.local import sandbox
def refused(strict):
    raise OSError(28, "unshare: No space left on device")
sandbox._enter = refused
sandbox.main("", "/tmp/any", "", ["true"])
"""
    command = [sys.executable, "-c", refusing]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "no namespaces (unshare: No space left on device)" in line
