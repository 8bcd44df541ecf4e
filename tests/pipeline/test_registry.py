from __future__ import annotations

import re

import pytest

from pipeline.errors import RegistryError
from pipeline.registry import APPROVED, REJECTED, Registry
from pipeline.target import Target
from tests.pipeline.conftest import register


def test_versions_are_listed_newest_first(target: Target) -> None:
    for accuracy in ("0.8", "0.9"):
        register(target, accuracy)
    versions = Registry(target).versions()
    assert [(one.number, one.accuracy) for one in versions] == [(2, 0.9), (1, 0.8)]
    assert {one.status for one in versions} == {"PendingManualApproval"}


def test_more_versions_than_a_page_holds_are_all_listed(target: Target) -> None:
    for _ in range(103):
        register(target)
    assert len(Registry(target).versions()) == 103


def test_an_empty_registry_has_no_versions(target: Target) -> None:
    assert Registry(target).versions() == []


def test_a_decision_is_kept_with_its_reason_who_took_it_and_when(target: Target) -> None:
    register(target, data_sha256="abc")
    decision = Registry(target).decide(1, APPROVED, "  better on\n short reviews ")
    assert decision.changed
    version = Registry(target).find(1)
    assert (version.status, version.reason) == (APPROVED, "better on short reviews")
    assert "arn:aws:iam::000000000000:" in version.metadata["reviewed_by"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", version.metadata["reviewed_at"])
    assert version.metadata["data_sha256"] == "abc"


def test_approving_what_is_approved_changes_nothing(target: Target) -> None:
    register(target)
    registry = Registry(target)
    first = registry.decide(1, APPROVED, "good").version
    again = registry.decide(1, APPROVED, "very good")
    assert not again.changed
    assert again.version == first


def test_a_decision_can_be_turned_round(target: Target) -> None:
    register(target)
    registry = Registry(target)
    for status, reason in ((APPROVED, "good"), (REJECTED, "blind to irony"), (APPROVED, "again")):
        assert registry.decide(1, status, reason).changed
    assert registry.find(1).reason == "again"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("", "needs a reason"),
        (" \n ", "needs a reason"),
        ("x" * 1025, "has 1025 characters"),
        ("bad \udcff byte", "cannot be shown"),
        ("\x1b[31mred", "cannot be shown"),
    ],
)
def test_a_decision_without_a_usable_reason_changes_nothing(
    target: Target, reason: str, words: str
) -> None:
    register(target)
    with pytest.raises(RegistryError, match=words):
        Registry(target).decide(1, APPROVED, reason)
    assert Registry(target).find(1).status == "PendingManualApproval"


def test_an_unknown_version_names_the_valid_ones(target: Target) -> None:
    register(target)
    register(target)
    with pytest.raises(RegistryError, match=r"unknown version 7 \(valid: 1, 2\)"):
        Registry(target).find(7)


def test_an_unknown_version_of_an_empty_registry_says_how_to_get_one(target: Target) -> None:
    with pytest.raises(RegistryError, match=r"none is registered yet \(start with: sentiment run"):
        Registry(target).find(1)


def test_a_version_knows_the_execution_that_made_it(target: Target) -> None:
    register(target, execution_id="abc")
    found = Registry(target).of_execution("abc")
    assert found is not None and found.number == 1
    assert Registry(target).of_execution("other") is None
