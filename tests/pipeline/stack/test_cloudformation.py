"""What a stack's status and a change set mean for a deployment."""

from __future__ import annotations

import botocore.session
import pytest

from pipeline.errors import StackError
from pipeline.stack.cloudformation import (
    DEAD,
    USABLE,
    Change,
    State,
    refuse_loss,
    refuse_unusable,
)

STATUSES = (
    botocore.session.get_session().get_service_model("cloudformation").shape_for("StackStatus").enum
)
GONE = "DELETE_COMPLETE"  # the name knows no stack any more


@pytest.mark.parametrize("status", sorted({*STATUSES} - {GONE}))
def test_every_status_is_waited_for_or_used_or_answered_with_what_to_do(status: str) -> None:
    state = State(status, {}, {}, "Resource creation cancelled")
    if state.is_busy:
        assert status.endswith("_IN_PROGRESS")
    elif status in USABLE:
        refuse_unusable("sentiment-dev", state)
    else:
        with pytest.raises(StackError, match=f"is {status} .*: ") as caught:
            refuse_unusable("sentiment-dev", state)
        says = "stack destroy" if status in DEAD else "continue-update-rollback --stack-name sent"
        assert says in str(caught.value)


def test_a_status_that_takes_no_update_is_not_counted_as_one_that_does() -> None:
    assert not {*USABLE} & {*DEAD}
    assert {*USABLE, *DEAD} <= {*STATUSES}
    assert {one for one in USABLE if not one.endswith("_COMPLETE")} == {"UPDATE_FAILED"}


@pytest.mark.parametrize(
    ("action", "kind", "replacement", "lost"),
    [
        ("Remove", "AWS::KMS::Key", "", "EncryptWithKmsKey cannot be taken back"),
        ("Modify", "AWS::ECR::Repository", "True", "its images"),
        ("Modify", "AWS::S3::Bucket", "True", "its objects"),
        ("Modify", "AWS::SageMaker::ModelPackageGroup", "True", "its versions"),
    ],
)
def test_changes_that_would_lose_what_a_resource_holds_are_refused(
    action: str, kind: str, replacement: str, lost: str
) -> None:
    with pytest.raises(StackError, match=f"It would go, and with it .*{lost}"):
        refuse_loss("sentiment-dev", [Change(action, "It", kind, replacement)])


def test_changes_in_place_and_of_what_holds_nothing_are_made() -> None:
    refuse_loss(
        "sentiment-dev",
        [
            Change("Add", "Key", "AWS::KMS::Key", ""),
            Change("Modify", "ArtifactBucket", "AWS::S3::Bucket", "False"),
            Change("Remove", "Firewall", "AWS::WAFv2::WebACL", ""),
        ],
    )
