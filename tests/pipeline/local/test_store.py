"""Documents, transactions and the outbox."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.local.errors import LocalAccountError
from pipeline.local.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "account.db")


def test_documents_are_listed_in_order_of_creation_and_by_parent(store: Store) -> None:
    for name, parent in (("b", "x"), ("a", "y"), ("c", "x")):
        store.put("kind", name, {"name": name}, parent)
    store.put("kind", "b", {"name": "b", "again": True})
    assert [item["name"] for item in store.every("kind")] == ["b", "a", "c"]
    assert [item["name"] for item in store.every("kind", parent="x")] == ["b", "c"]


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
