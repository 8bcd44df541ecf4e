"""The reviewer's side: which model versions there are, what each is, and what was decided."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from pipeline import notes
from pipeline.errors import RegistryError
from pipeline.target import Target

APPROVED, REJECTED, PENDING = "Approved", "Rejected", "PendingManualApproval"
PINNED, UNPINNED = "Pinned", "Unpinned"
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateModelPackage.html
MAX_REASON_LENGTH = 1024


@dataclass(frozen=True)
class Version:
    """A model version: a model package of the project's group."""

    number: int
    arn: str
    status: str
    created: datetime
    reason: str
    metadata: Mapping[str, str]
    image: str
    model_data_url: str
    evaluation_url: str
    changed: datetime
    """When anything of it was last changed."""

    @property
    def approved_at(self) -> datetime:
        """When it was last decided on, whatever was noted beside it since."""
        return notes.approved_at(self.metadata, self.changed)

    @property
    def failure(self) -> str | None:
        """Why it did not come into service since it was approved; None where it did, or may yet."""
        return notes.failure(self.metadata, self.changed)

    @property
    def pinned_at(self) -> str:
        """When it was pinned, as ISO 8601; empty for one that is not."""
        return notes.pinned_at(self.metadata, self.changed)

    @property
    def state(self) -> str:
        """Its status, whether it is pinned, and whether it did not come into service."""
        marks = ("pinned" if self.pinned_at else "", "failed" if self.failure else "")
        return ", ".join([self.status, *(mark for mark in marks if mark)])

    @property
    def accuracy(self) -> float | None:
        """Test accuracy recorded at registration."""
        text = self.metadata.get("accuracy")
        return float(text) if text else None

    def as_json(self) -> dict[str, Any]:
        """The version for a script."""
        return {
            "version": self.number,
            "status": self.status,
            "accuracy": self.accuracy,
            "created": self.created.isoformat(),
            "reason": self.reason,
            "pinned_at": self.pinned_at or None,
            "failure": self.failure,
            "model_package_arn": self.arn,
            "image": self.image,
            "model_data_url": self.model_data_url,
            "evaluation_url": self.evaluation_url,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True)
class Decision:
    """What came of a request to approve or reject: `changed` is False if it was so already."""

    version: Version
    changed: bool


class Registry:
    """The project's model package group in one account."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._sagemaker = target.client("sagemaker")

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        return [self._describe(arn) for arn in self._arns()]

    def find(self, number: int) -> Version:
        """The version with this number."""
        known: list[int] = []
        for arn in self._arns():
            if (version := int(arn.rpartition("/")[2])) == number:
                return self._describe(arn)
            known.append(version)
        if not known:
            raise RegistryError(
                f"unknown version {number}: none is registered yet (start with: sentiment run)"
            )
        valid = ", ".join(str(one) for one in sorted(known))
        raise RegistryError(f"unknown version {number} (valid: {valid})")

    def of_execution(self, execution_id: str) -> Version | None:
        """The version that an execution registered."""
        return next(
            (one for one in self.versions() if one.metadata.get("execution_id") == execution_id),
            None,
        )

    def decide(self, number: int, status: str, reason: str) -> Decision:
        """Approve or reject a version; the reason, who decided and when are kept with it.

        A version that has the status already is left as it is, its first reason included.
        """
        reason = " ".join(reason.split())
        if not reason:
            raise RegistryError("a decision needs a reason (give it with: --reason '…')")
        if len(reason) > MAX_REASON_LENGTH:
            raise RegistryError(
                f"the reason has {len(reason)} characters (at most {MAX_REASON_LENGTH})"
            )
        if not reason.isprintable():
            raise RegistryError("the reason holds characters that cannot be shown")
        version = self.find(number)
        if version.status == status and version.failure is None:
            return Decision(version, changed=False)
        line, who, at = self._line(status, reason)
        decision, oldest = notes.add_decision(version.metadata, line)
        void = [key for key in notes.KEYS if key in version.metadata]
        self._sagemaker.update_model_package(
            ModelPackageArn=version.arn,
            ModelApprovalStatus=status,
            ApprovalDescription=reason,
            CustomerMetadataProperties={"reviewed_by": who, "reviewed_at": at, **decision},
            # a decision makes what was noted about the one before void
            **({"CustomerMetadataPropertiesToRemove": [*void, *oldest]} if void or oldest else {}),
        )
        return Decision(self._describe(version.arn), changed=True)

    def pin(self, number: int) -> Version:
        """Have this version served until it is unpinned, whichever is approved after it."""
        version = self.find(number)
        if version.status != APPROVED:
            raise RegistryError(
                f"version {number} is {version.status}: only an approved one can be pinned "
                f"(sentiment registry approve {number} --reason '…')"
            )
        if version.failure is not None:
            raise RegistryError(
                f"version {number} did not come into service ({version.failure}): approve it again "
                f"and pin it then (sentiment registry approve {number} --reason '…')"
            )
        if not version.pinned_at:
            self._note(version, PINNED, {notes.PINNED_AT: datetime.now(UTC).isoformat()})
        # the others' only now: whichever is looked at in between, one of them is pinned
        self._unpin([one for one in self.versions() if one.pinned_at and one.number != number])
        return self._describe(version.arn)

    def unpin(self) -> list[Version]:
        """Let the version approved last be served again; those that were pinned."""
        pinned = [version for version in self.versions() if version.pinned_at]
        self._unpin(pinned)
        return pinned

    def wanted(self, without: int | None = None) -> Version | None:
        """The version that the deploy function is to serve, or would be without that one.

        One that did not come into service is not passed over: nothing is served in its place.
        """
        approved = [
            one for one in self.versions() if one.status == APPROVED and one.number != without
        ]
        rank = {one.number: (one.pinned_at, one.approved_at, one.number) for one in approved}
        return max(approved, key=lambda one: rank[one.number], default=None)

    def _unpin(self, pinned: list[Version]) -> None:
        for version in pinned:
            self._note(version, UNPINNED, {}, [notes.PINNED_AT])

    def _note(
        self,
        version: Version,
        what: str,
        properties: Mapping[str, str],
        removed: Sequence[str] = (),
    ) -> None:
        """Note it; the status it has already is sent along, as only that wakes the roll-out."""
        now = datetime.now(UTC)
        line, oldest = notes.add_decision(version.metadata, self._line(what)[0])
        removed = [*removed, *oldest, *notes.void(version.metadata, version.changed)]
        touched = notes.touch(version.metadata, version.changed, now)
        self._sagemaker.update_model_package(
            ModelPackageArn=version.arn,
            ModelApprovalStatus=version.status,
            CustomerMetadataProperties={**touched, **line, **properties},
            **({"CustomerMetadataPropertiesToRemove": removed} if removed else {}),
        )

    def _line(self, what: str, reason: str = "") -> tuple[str, str, str]:
        """A line of the history, and who it says did it, and when."""
        at, who = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), self._reviewer()
        return f"{at} {what} by {who}: {reason}", who, at

    def _reviewer(self) -> str:
        """Who is signed in here, and as whom AWS knows them."""
        arn = self._target.client("sts").get_caller_identity()["Arn"]
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # a container's user without a name
            user = "unknown"
        return notes.plain(f"{user} {arn}")

    def _arns(self) -> list[str]:
        pages = self._sagemaker.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=self._target.account.model_package_group,
            SortBy="CreationTime",
            SortOrder="Descending",
        )
        try:
            return [
                one["ModelPackageArn"] for page in pages for one in page["ModelPackageSummaryList"]
            ]
        except ClientError as error:
            if "does not exist" in str(error):
                return []
            raise

    def _describe(self, arn: str) -> Version:
        package = self._sagemaker.describe_model_package(ModelPackageName=arn)
        (container, *_) = package.get("InferenceSpecification", {}).get("Containers") or [{}]
        quality = package.get("ModelMetrics", {}).get("ModelQuality", {})
        return Version(
            number=int(arn.rpartition("/")[2]),
            arn=arn,
            status=package["ModelApprovalStatus"],
            created=package["CreationTime"],
            reason=package.get("ApprovalDescription", ""),
            metadata=package.get("CustomerMetadataProperties", {}),
            image=container.get("Image", ""),
            model_data_url=container.get("ModelDataUrl", ""),
            evaluation_url=quality.get("Statistics", {}).get("S3Uri", ""),
            changed=package.get("LastModifiedTime") or package["CreationTime"],
        )
