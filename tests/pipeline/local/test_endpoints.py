"""Endpoints: created, swapped when healthy, rolled back, restarted."""

from __future__ import annotations

import io
import os
import signal
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from pipeline.local import Image
from pipeline.local.endpoints import MAX_WAITING
from pipeline.local.errors import LocalAccountError
from pipeline.local.model_server import unpack
from pipeline.local.processes import held
from tests.pipeline.local.conftest import WAIT_S
from tests.pipeline.local.test_launch import is_gone


def settled(box: Any, name: str = "e") -> dict[str, Any]:
    def description() -> dict[str, Any] | None:
        endpoint: dict[str, Any] = box.client("sagemaker").describe_endpoint(EndpointName=name)
        busy = endpoint["EndpointStatus"] in ("Creating", "Updating")
        return None if busy else endpoint

    found: dict[str, Any] = box.wait_until(description)
    return found


def create(box: Any, word: str) -> dict[str, Any]:
    box.create_config(word, box.register(word))
    box.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName=word)
    return settled(box)


def update(box: Any, word: str) -> dict[str, Any]:
    box.create_config(word, box.register(word))
    box.client("sagemaker").update_endpoint(EndpointName="e", EndpointConfigName=word)
    return settled(box)


def test_an_endpoint_serves_the_packages_model_with_its_environment(box: Any) -> None:
    endpoint = create(box, "one")
    assert endpoint["EndpointStatus"] == "InService"
    assert endpoint["ProductionVariants"][0]["VariantName"] == "AllTraffic"
    assert box.invoke("e", b"hello") == b"one:hello:blue"


def test_a_models_own_environment_overrides_the_packages(box: Any) -> None:
    box.create_config("one", box.register("one"), COLOUR="red")
    box.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="one")
    settled(box)
    assert box.invoke("e", b"x") == b"one:x:red"


def test_an_update_swaps_to_the_new_version_and_frees_the_old(box: Any) -> None:
    create(box, "one")
    endpoint = update(box, "two")
    assert endpoint["EndpointConfigName"] == "two"
    assert box.invoke("e", b"x") == b"two:x:blue"
    folder = box.home / "endpoints" / "e"
    box.wait_until(lambda: [p.name[:4] for p in folder.iterdir() if p.is_dir()] == ["two-"])


def test_a_version_that_never_becomes_healthy_is_rolled_back(box: Any) -> None:
    create(box, "one")
    endpoint = update(box, "broken")
    assert endpoint["EndpointStatus"] == "InService"
    assert endpoint["EndpointConfigName"] == "one"
    assert "never became healthy" in endpoint["FailureReason"]
    assert box.invoke("e", b"x") == b"one:x:blue"


def test_a_first_version_that_never_becomes_healthy_fails(box: Any) -> None:
    assert create(box, "broken")["EndpointStatus"] == "Failed"
    with pytest.raises(ClientError, match="does not serve"):
        box.invoke("e", b"x")


def test_after_every_process_was_killed_the_next_request_is_answered(box: Any) -> None:
    create(box, "one")
    update(box, "two")
    box.kill_all()
    assert box.invoke("e", b"x") == b"two:x:blue"


def test_a_server_that_dies_is_started_again(box: Any) -> None:
    create(box, "one")
    supervisors = {
        pid
        for pid in box.processes()
        if b"pipeline.local" in Path(f"/proc/{pid}/cmdline").read_bytes()
    }
    for pid in set(box.processes()) - supervisors:
        os.kill(pid, signal.SIGKILL)
    assert box.invoke("e", b"x") == b"one:x:blue"


def test_a_server_that_is_started_again_leaves_one_copy_of_its_model(box: Any) -> None:
    create(box, "one")
    folder = box.home / "endpoints" / "e"
    (before,) = (path.name for path in folder.iterdir() if path.is_dir())
    box.kill_all()
    assert box.invoke("e", b"x") == b"one:x:blue"

    def copies() -> list[str]:
        return [path.name for path in folder.iterdir() if path.is_dir()]

    box.wait_until(lambda: len(copies()) == 1)
    assert copies() != [before]


def test_a_server_that_hangs_keeps_nobody_longer_than_he_waits_and_is_replaced(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_ACCOUNT_PING_S", "0.1")
    create(box, "one")
    (server,) = [
        pid
        for pid in box.processes()
        if b"server.py" in (command := Path(f"/proc/{pid}/cmdline").read_bytes())
        and b"launch.py" not in command
    ]
    os.kill(server, signal.SIGSTOP)
    config = Config(read_timeout=1, retries={"total_max_attempts": 1})
    client = box.session.client("sagemaker-runtime", config=config)
    with pytest.raises(ReadTimeoutError):
        client.invoke_endpoint(EndpointName="e", Body=b"x")

    def answer() -> bytes | None:
        try:
            text: bytes = client.invoke_endpoint(EndpointName="e", Body=b"x")["Body"].read()
        except ReadTimeoutError:
            return None
        return text

    assert box.wait_until(answer) == b"one:x:blue"


def test_an_update_whose_supervisor_was_killed_is_finished_later(box: Any) -> None:
    create(box, "one")
    box.create_config("two", box.register("two"))
    box.kill_all()
    box.account.store.change(
        "endpoint", "e", lambda e: {**e, "WantedConfigName": "two", "EndpointStatus": "Updating"}
    )
    assert settled(box)["EndpointConfigName"] == "two"
    assert box.invoke("e", b"x") == b"two:x:blue"


def test_while_a_server_is_away_a_few_requests_wait_and_the_others_are_refused(
    box: Any,
) -> None:
    create(box, "one")
    box.kill_all()

    def ask(_: int) -> bytes:
        try:
            answer: bytes = box.invoke("e", b"x")
            return answer
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429
            return error.response["Error"]["Code"].encode()

    box.client("sagemaker-runtime")  # clients may be used, but not made, by several threads
    lock = box.home / "locks/endpoint-e"
    with ThreadPoolExecutor(24) as pool:
        with held(lock, what="endpoint e", within_s=WAIT_S):  # nobody can bring the server back
            asked = [pool.submit(ask, number) for number in range(24)]
            box.wait_until(lambda: sum(one.done() for one in asked) == 24 - MAX_WAITING)
        answers = [one.result() for one in asked]
    assert answers.count(b"one:x:blue") == MAX_WAITING
    assert answers.count(b"ModelNotReadyException") == 24 - MAX_WAITING


def test_what_a_server_started_ends_when_its_launcher_is_killed(box: Any) -> None:
    mark = box.tmp / "mark"
    script = 'sleep 300 & echo $! > "$0"; exec "$@"'  # a server with a worker
    server = (sys.executable, str(box.tmp / "server.py"), "/opt/ml/model")
    image = Image(entrypoint=("/bin/sh", "-c", script, str(mark), *server))
    box.account.configure(images={"server:*": image})
    create(box, "one")
    worker = int(mark.read_text())
    assert not is_gone(worker)
    (launcher,) = [
        pid
        for pid in box.processes()
        if b"launch.py" in (command := Path(f"/proc/{pid}/cmdline").read_bytes())
        and b"/endpoints/e/" in command  # not the function that is told of the endpoint
    ]
    os.kill(launcher, signal.SIGKILL)
    box.wait_until(lambda: is_gone(worker))
    assert box.invoke("e", b"x") == b"one:x:blue"


def test_a_request_that_kills_the_server_is_sent_no_more_than_twice(box: Any) -> None:
    create(box, "one")
    with pytest.raises(ClientError, match="did not answer"):
        box.invoke("e", b"die")
    assert box.invoke("e", b"x") == b"one:x:blue"
    assert (box.home / "endpoints/e/died").read_text() == "diedie"


def test_an_error_of_the_container_is_a_model_error(box: Any) -> None:
    create(box, "one")
    with pytest.raises(ClientError, match="ModelError"):
        box.invoke("e", b"bad")


def test_a_deleted_endpoint_ends_its_processes(box: Any) -> None:
    create(box, "one")
    box.client("sagemaker").delete_endpoint(EndpointName="e")
    box.wait_until(lambda: not box.processes())
    with pytest.raises(ClientError, match="not found"):
        box.invoke("e", b"x")


def test_an_idle_endpoint_ends_its_processes_and_starts_again(box: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("LOCAL_ACCOUNT_IDLE_S", "0.5")
    create(box, "one")
    box.wait_until(lambda: not box.processes())
    assert box.client("sagemaker").describe_endpoint(EndpointName="e")["EndpointStatus"] == (
        "InService"
    )
    assert box.invoke("e", b"x") == b"one:x:blue"


def test_an_update_in_progress_refuses_another(box: Any) -> None:
    create(box, "one")
    box.create_config("two", box.register("two"))
    box.kill_all()
    box.account.store.change("endpoint", "e", lambda e: {**e, "EndpointStatus": "Updating"})
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        box.client("sagemaker").update_endpoint(EndpointName="e", EndpointConfigName="two")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("describe_endpoint", {"EndpointName": "n"}),
        ("delete_endpoint", {"EndpointName": "n"}),
        ("describe_model", {"ModelName": "n"}),
        ("delete_model", {"ModelName": "n"}),
        ("describe_endpoint_config", {"EndpointConfigName": "n"}),
        ("delete_endpoint_config", {"EndpointConfigName": "n"}),
        ("create_endpoint", {"EndpointName": "n", "EndpointConfigName": "n"}),
    ],
)
def test_what_does_not_exist_is_said_to_be_missing(box: Any, call: str, arguments: Any) -> None:
    with pytest.raises(ClientError, match="Could not find") as caught:
        getattr(box.client("sagemaker"), call)(**arguments)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_models_and_configurations_are_listed_and_deleted(box: Any) -> None:
    box.create_config("one", box.register("one"))
    sagemaker = box.client("sagemaker")
    with pytest.raises(ClientError, match="already existing"):
        sagemaker.create_model(
            ModelName="one", ExecutionRoleArn="arn:aws:iam::000000000000:role/r",
            PrimaryContainer={"Image": "server:1"},
        )  # fmt: skip
    assert [m["ModelName"] for m in sagemaker.list_models()["Models"]] == ["one"]
    configs = sagemaker.list_endpoint_configs(NameContains="on")["EndpointConfigs"]
    assert [c["EndpointConfigName"] for c in configs] == ["one"]
    sagemaker.delete_endpoint_config(EndpointConfigName="one")
    sagemaker.delete_model(ModelName="one")
    assert sagemaker.list_models()["Models"] == []


def archive(folder: Path, name: str, **fields: Any) -> Path:
    path = folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        for key, value in fields.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(b""))
    return path


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("../out", {}),
        ("/absolute", {}),
        ("a/../../out", {}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("hard", {"type": tarfile.LNKTYPE, "linkname": "x"}),
        ("device", {"type": tarfile.CHRTYPE}),
        ("pipe", {"type": tarfile.FIFOTYPE}),
    ],
)
def test_a_hostile_model_archive_is_refused(tmp_path: Path, name: str, fields: Any) -> None:
    target = tmp_path / "in" / "target"
    target.mkdir(parents=True)
    with pytest.raises(LocalAccountError, match="unsafe member"):
        unpack(archive(tmp_path, name, **fields), target)
    assert list(target.iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {"in", "model.tar.gz"}


@pytest.mark.parametrize("left", [0.2, 0.5, 0.9])
def test_a_model_archive_that_was_cut_short_is_refused(tmp_path: Path, left: float) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("weights")
        member.size = 1 << 16
        tar.addfile(member, io.BytesIO(os.urandom(member.size)))
    os.truncate(path, int(path.stat().st_size * left))
    with pytest.raises(LocalAccountError, match=r"model\.tar\.gz is not a whole tar\.gz"):
        unpack(path, tmp_path / "target")


def test_an_endpoint_name_that_is_not_one_is_refused(box: Any) -> None:
    victim = box.tmp / "victim"
    victim.mkdir()
    config = box.create_config("c", box.register("hi"))
    with pytest.raises(ClientError, match="EndpointName failed to satisfy constraint"):
        box.client("sagemaker").create_endpoint(
            EndpointName="../../victim", EndpointConfigName=config
        )
    assert list(victim.iterdir()) == []
