"""`sentiment stop` and `retry`, what `status` says of cost and cache, and `sentiment account`."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline import account_commands, cli
from pipeline import target as targets
from pipeline.executions import Executions
from pipeline.local import Image, http_api, session
from pipeline.local.account import open_account
from pipeline.target import Target
from tests.pipeline.test_executions import definition, fail, processing, run


@pytest.fixture
def here(target: Target, monkeypatch: pytest.MonkeyPatch) -> Target:
    """The commands talk to the test's account."""
    monkeypatch.setattr(targets, "open_target", lambda settings: target)
    account = open_account(target.settings.home)
    monkeypatch.setattr(account_commands, "_account", lambda settings: account)
    return target


def sentiment(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(arguments)
    output = capsys.readouterr()
    return status, output.out, output.err


def test_a_running_execution_is_stopped_and_goes_on_by_retry(
    here: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    script = (
        "import pathlib, time\n"
        f"first, second = pathlib.Path({str(first)!r}), pathlib.Path({str(second)!r})\n"
        "time.sleep(300 * (not first.exists() and first.touch() is None))\n"
        "second.touch()\n"
    )
    executions = Executions(here)
    executions.upsert(definition(processing("Wait", script)))
    for execution, _ in executions.follow(executions.start({})):  # noqa: B007 - used below
        if first.exists():
            break
    status, out, _ = sentiment(capsys, "stop")
    assert (status, out) == (0, f"execution {execution.id}: Stopped\n")
    assert not second.exists()
    status, out, _ = sentiment(capsys, "retry", execution.id, "--json")
    document = {"execution": execution.id, "status": "Succeeded", "reason": ""}
    assert (status, json.loads(out)) == (0, document)
    assert second.exists()


def test_a_retry_that_fails_again_says_why(
    here: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    execution, _ = run(here, definition(fail("Stop")))
    status, out, err = sentiment(capsys, "retry")
    assert (status, out) == (1, f"execution {execution.id}: Failed\n")
    assert "step Stop: said hello" in err


def test_only_an_execution_that_runs_is_stopped(
    here: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    run(here, definition(fail("Stop")))
    status, _, err = sentiment(capsys, "stop")
    assert status == 1
    assert "It must be Executing to be stopped" in err


def test_status_tells_cost_and_why_a_step_was_not_reused(
    here: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    step = processing("Say", "print('hello')") | {"CacheConfig": {"Enabled": True}}
    run(here, definition(step))
    _, out, _ = sentiment(capsys, "status")
    assert "Say was not taken from the cache: no earlier run of this step" in out
    _, out, _ = sentiment(capsys, "status", "--json")
    (row,) = json.loads(out)["steps"]
    assert 0 < float(row["cpu_s"]) < 10
    assert int(row["memory_mib"]) > 1
    assert row["cache"] == "no earlier run of this step"


def test_status_names_the_steps_that_were_not_executed(
    here: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    holds = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}
    arguments = {"Conditions": [holds], "IfSteps": [], "ElseSteps": [fail("Other")]}
    gate = {"Name": "Gate", "Type": "Condition", "Arguments": arguments}
    run(here, definition(gate, {**fail("After"), "DependsOn": ["Other"]}))
    assert "not executed: Other, After\n" in sentiment(capsys, "status")[1]
    assert json.loads(sentiment(capsys, "status", "--json")[1])["not_executed"] == [
        "Other",
        "After",
    ]


def leave(target: Target) -> Path:
    """A folder that a killed job would leave."""
    path = target.settings.home / "jobs" / "gone" / "algo-1"
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"x" * 300_000)
    return path.parent


def test_cleaning_says_first_what_it_would_delete(
    here: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    path = leave(here)
    status, out, err = sentiment(capsys, "account", "clean")
    assert status == 0
    assert "jobs/gone" in out and "the folder of a job that has ended" in out
    assert err == "nothing is deleted yet: --yes frees 0.3 MB\n"
    assert path.exists()
    status, out, err = sentiment(capsys, "account", "clean", "--yes", "--json")
    assert json.loads(out)["leftovers"][0]["bytes"] == 300_000
    assert err == "deleted 1 of these, 0.3 MB\n"
    assert not path.exists()
    assert sentiment(capsys, "account", "clean")[2] == "there is nothing to clean\n"


def test_the_space_is_told_by_part(here: Target, capsys: pytest.CaptureFixture[str]) -> None:
    here.prepare()
    here.client("s3").put_object(Bucket=here.account.bucket, Key="data/x", Body=b"x" * 500_000)
    status, out, _ = sentiment(capsys, "account", "du")
    assert status == 0
    assert out.splitlines()[1].split() == ["0.5", f"s3://{here.account.bucket}/data/"]
    _, out, _ = sentiment(capsys, "account", "du", "--json")
    assert json.loads(out)["parts"][f"s3://{here.account.bucket}/data/"] == 500_000


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is interrupted as soon as it serves."""

    def interrupt(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("werkzeug.serving.ThreadedWSGIServer.serve_forever", interrupt)


@pytest.mark.usefixtures("interrupted")
def test_the_account_is_served_until_interrupted(
    here: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = sentiment(capsys, "account", "serve", "--port", "0")
    assert status == 130
    assert err.startswith("the local account answers AWS clients on http://127.0.0.1:")
    assert err.splitlines()[1].startswith("another shell is set up for it by: eval")


@pytest.mark.usefixtures("interrupted")
def test_another_shell_is_set_up_for_the_home_that_is_served(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "a home"
    _, _, err = sentiment(capsys, "--home", str(home), "account", "serve", "--port", "0")
    (command,) = re.findall(r"eval \"\$\(sentiment (.*)\)\"", err)
    _, out, _ = sentiment(capsys, *shlex.split(command), "--json")
    assert json.loads(out)["AWS_ACCESS_KEY_ID"] == open_account(home).credentials.access_key_id


def test_a_shell_is_set_up_for_the_served_account(
    here: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = sentiment(capsys, "account", "env")
    assert status == 0
    printed = subprocess.run(  # noqa: S603 - what it printed is for a shell
        ["/bin/sh", "-c", 'eval "$0" && env', out], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    _, out, _ = sentiment(capsys, "account", "env", "--json")
    variables = json.loads(out)
    assert {f"{name}={value}" for name, value in variables.items()} <= set(printed)
    assert variables["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert variables["AWS_ACCESS_KEY_ID"].startswith("LOCAL")
    mode = (here.settings.home / "credentials.json").stat().st_mode
    assert mode & 0o777 == 0o600


def test_a_taken_port_is_told_in_one_line(here: Target, capsys: pytest.CaptureFixture[str]) -> None:
    with http_api.bind(open_account(here.settings.home), 0) as server:
        port = str(server.port)
        status, _, err = sentiment(capsys, "account", "serve", "--port", port)
    assert (status, err) == (1, f"sentiment: port {port} is taken: give another with --port\n")


def test_the_account_commands_are_about_the_local_account(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, _, err = sentiment(capsys, "--target", "aws", "account", "du")
    assert status == 1
    assert "use --target local" in err
    status, out, _ = sentiment(capsys, "--home", str(tmp_path / "new"), "account", "du")
    assert (status, "account.db" in out) == (0, True)


def test_the_account_commands_leave_what_was_handed_in_to_a_home(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    session(tmp_path, images={"mine:*": Image()}, functions={}, rules=())
    kept = (tmp_path / "account.json").read_text()
    assert sentiment(capsys, "--home", str(tmp_path), "account", "du")[0] == 0
    assert (tmp_path / "account.json").read_text() == kept


def test_a_damaged_account_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    session(tmp_path, images={"mine:*": Image()})
    (tmp_path / "account.json").write_text("{")
    status, _, err = sentiment(capsys, "--home", str(tmp_path), "account", "serve", "--port", "0")
    assert (status, err.count("\n")) == (1, 1)
    assert "account.json is not a JSON object" in err and "delete it" in err


def test_a_damaged_key_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "credentials.json").write_text("")
    status, _, err = sentiment(capsys, "--home", str(tmp_path), "account", "env")
    assert (status, err.count("\n")) == (1, 1)
    assert "credentials.json holds no key: delete it" in err
