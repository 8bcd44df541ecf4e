"""Documents, transactions and the outbox."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.local import Function, Image, Rule, sandbox, session
from pipeline.local.account import open_account
from pipeline.local.errors import LocalAccountError
from pipeline.local.housekeeping import delete, leftovers
from pipeline.local.jobs import job_lock
from pipeline.local.processes import acquire, held, is_alive
from pipeline.local.store import SCHEMA_VERSION, Store
from pipeline.settings import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "account.db")


def test_documents_are_listed_in_order_of_creation_and_by_parent(store: Store) -> None:
    for name, parent in (("b", "x"), ("a", "y"), ("c", "x")):
        store.put("kind", name, {"name": name}, parent)
    store.put("kind", "b", {"name": "b", "again": True})
    assert [item["name"] for item in store.every("kind")] == ["b", "a", "c"]
    assert [item["name"] for item in store.every("kind", parent="x")] == ["b", "c"]


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    account = open_account(tmp_path / "home")
    assert account.home.stat().st_mode & 0o777 == 0o700


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match="stop"), store.transaction():
        store.put("kind", "a", {})
        with store.transaction():
            store.enqueue("f", {})
        raise ValueError("stop")
    assert store.get("kind", "a") is None
    assert store.pending() == 0


def test_no_update_of_many_threads_is_lost(store: Store) -> None:
    store.put("kind", "counter", {"value": 0})

    def add() -> None:
        for _ in range(25):
            store.change("kind", "counter", lambda item: {"value": item["value"] + 1})

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("kind", "counter") == {"value": 200}


def test_changing_what_does_not_exist_gives_none(store: Store) -> None:
    assert store.change("kind", "a", lambda item: item) is None


def test_a_postponed_event_is_pending_but_not_due(store: Store) -> None:
    store.enqueue("f", {"n": 1})
    due = store.due()
    assert due is not None
    store.settle(due[0], "pending", attempts=1, delay_s=60)
    assert store.due() is None
    assert store.pending() == 1


def test_a_home_of_a_newer_version_is_refused(store: Store) -> None:
    store._connection().execute("PRAGMA user_version=99")
    with pytest.raises(LocalAccountError, match="made by a newer version"):
        Store(store.path)


def test_a_home_of_an_older_version_is_brought_up_to_date_and_keeps_what_it_has(
    store: Store,
) -> None:
    store.put("model", "m", {"a": 1})
    store.put("cache", "old", {})
    store.put("object", "b/k", {"ETag": "e", "ModifiedNs": 1})
    store.put("tags", "arn:aws:s3:::b/k", {"Tags": {"k": "v"}})
    store._connection().execute("PRAGMA user_version=1")
    again = Store(store.path)
    assert again.get("model", "m") == {"a": 1}
    assert again.get("cache", "old") is None
    assert again.get("object", "b/k") == {"ETag": "e", "ModifiedNs": 1, "Tags": {"k": "v"}}
    assert again.every("tags") == []
    assert again._version(again._connection()) == SCHEMA_VERSION


def test_a_list_may_be_written_to_while_it_is_read(store: Store) -> None:
    for number in range(300):
        store.put("k", str(number), {"n": number})
    seen, other = [], Store(store.path)
    for _, document in store.rows("k")(None, True):
        other.put("other", "x", {"n": document["n"]})
        with store.transaction():
            store.put("k", str(document["n"]), {"n": document["n"], "seen": True})
        seen.append(document["n"])
    assert seen == list(reversed(range(300)))


USE = """
import sys
from pathlib import Path
from pipeline import cli
home = Path(sys.argv[1])
from pipeline.local import session
try:
    client = session(home).client("sagemaker")
    for number in range(9999):
        client.create_model_package_group(ModelPackageGroupName=f"g{number}",
                                          ModelPackageGroupDescription="x" * 1000)
except Exception as error:
    print(cli.explain(error))
"""


@pytest.mark.skipif(not sandbox.is_available(), reason="the kernel gives no mount namespaces")
@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("mount -t tmpfs -o size=1m tmpfs", "the account's database cannot be used: "),
        ("mount -t tmpfs -o ro tmpfs", "cannot open the account in "),
    ],
)
def test_a_full_disk_and_a_read_only_home_are_told_in_one_line(
    tmp_path: Path, mount: str, reason: str
) -> None:
    done = subprocess.run(  # noqa: S603 - in a namespace of its own
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",  # noqa: S607
         f'{mount} "$2" && exec "$0" -c "$1" "$2"', sys.executable, USE, str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.startswith(reason), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1


def test_a_session_adds_to_what_the_home_keeps_and_is_looked_at_first(tmp_path: Path) -> None:
    rule = Rule("r", {"source": ["mine"]}, "f")
    session(tmp_path, functions={"f": Function("m.f", tmp_path)}, images={"job:*": Image()},
            rules=[rule])  # fmt: skip
    session(tmp_path, images={"job:1": Image(("new",))}, functions={}, rules=[])
    account = open_account(tmp_path)
    assert list(account.configuration["functions"]) == ["f"]
    assert [item["name"] for item in account.configuration["rules"]] == ["r"]
    assert account.image("job:1") == Image(("new",))
    assert account.image("job:2") == Image()


def test_a_session_replaces_what_it_hands_in_under_a_name_that_is_kept(tmp_path: Path) -> None:
    for command in ("old", "new"):
        session(tmp_path, images={"job:*": Image((command,))},
                functions={"f": Function(f"m.{command}", tmp_path)},
                rules=[Rule("r", {"source": [command]}, "f")])  # fmt: skip
    kept = open_account(tmp_path).configuration
    assert kept["images"]["job:*"]["entrypoint"] == ["new"]
    assert kept["functions"]["f"]["handler"] == "m.new"
    assert [item["pattern"] for item in kept["rules"]] == [{"source": ["new"]}]


def test_what_another_session_adds_is_known_at_once(tmp_path: Path) -> None:
    account = open_account(tmp_path)
    session(tmp_path, images={"job:*": Image(("one",))})
    assert account.image("job:1") == Image(("one",))
    session(tmp_path, images={"job:*": Image(("other",))})
    assert account.image("job:1") == Image(("other",))


def test_what_came_into_use_since_it_was_listed_is_not_cleaned(tmp_path: Path) -> None:
    account = open_account(tmp_path)
    (tmp_path / "jobs/j").mkdir(parents=True)
    lock = job_lock(account, "j")
    listed = leftovers(account)
    with held(lock, what="job j"):
        assert delete(listed) == []
        assert (tmp_path / "jobs/j").exists()
    assert delete(listed) == listed
    assert leftovers(account) == []


def test_a_lock_that_its_holder_removed_is_taken_anew(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    first = acquire(lock)
    assert first is not None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(acquire, lock, within_s=30)
        lock.unlink()
        os.close(first)
        second = waiting.result()
    assert second is not None
    assert is_alive(lock)
    os.close(second)
    assert not is_alive(lock)
