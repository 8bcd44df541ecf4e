"""What the account looks like now, as values that a plan can be made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

APPROVED = "Approved"
PENDING = "PendingManualApproval"

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html
# After a roll-back that failed, an endpoint serves a mixture: it takes an update all the same.
SERVING = frozenset({"InService", "UpdateRollbackFailed"})
# These take no update: the way out is to delete and create again.
BROKEN = frozenset({"Failed", "OutOfService"})


@dataclass(frozen=True)
class ModelPackage:
    """One version in the registry."""

    arn: str
    version: int
    approval_status: str
    approved_at: datetime
    """When the status was last set: the registry keeps no other time of approval, so any later
    change to the package but a note of ours counts as approving it again."""
    is_complete: bool = True
    """Whether SageMaker has finished making the package; another cannot be deployed."""
    image: str = ""
    model_data_url: str = ""
    failed_model: str | None = None
    """Model, by name, that did not come into service since this approval."""
    failed_reason: str = ""
    pinned_at: str = ""
    """When a reviewer pinned it, as ISO 8601; empty for one that is not."""


@dataclass(frozen=True)
class Scaling:
    """How many machines there may be, and for how many requests a minute each is enough."""

    least: int
    most: int
    invocations_per_instance: int


@dataclass(frozen=True)
class Endpoint:
    """The endpoint as it answers DescribeEndpoint."""

    status: str
    config_name: str
    last_modified_at: datetime
    failure_reason: str | None = None
    served_package_arn: str | None = None
    """Package behind the config in service; None where that config or its model is gone."""
    instance_type: str = ""
    """Machine of the variant in service; empty for a serverless one."""
    scaling: Scaling | None = None
    """How its machines are scaled; None where they are not, or where it has none."""
    is_plain: bool = True
    """Whether its config has neither a shadow nor keeps requests."""
    attempted: str = ""
    """The config that an update was asked for last; empty where none was."""
    is_recorded: bool = True
    """Whether the history has the config in service."""

    @property
    def on_machines(self) -> bool:
        return bool(self.instance_type)

    @property
    def is_in_flight(self) -> bool:
        """Whether it can be neither updated nor deleted; it comes out of that by itself."""
        return self.status not in SERVING | BROKEN

    @property
    def is_broken(self) -> bool:
        return self.status in BROKEN


@dataclass(frozen=True)
class Named:
    """A model or endpoint config: its name, and when it was made."""

    name: str
    created_at: datetime


@dataclass(frozen=True)
class Observed:
    """Everything that a plan depends on."""

    packages: tuple[ModelPackage, ...]
    endpoint: Endpoint | None
    models: tuple[Named, ...]
    configs: tuple[Named, ...]
    missing_alarms: tuple[str, ...] = ()
    """Alarms that are to guard a roll-out and do not exist."""
    ringing_alarms: Mapping[str, datetime] = field(default_factory=dict)
    """Those that are in ALARM by what serves now, and since when."""

    def package(self, arn: str | None) -> ModelPackage | None:
        return next((package for package in self.packages if package.arn == arn), None)

    def created_at(self, config_name: str) -> datetime | None:
        """When a config of ours was made, which is when the endpoint was asked for it."""
        return next((one.created_at for one in self.configs if one.name == config_name), None)

    def is_worth_going_back(self) -> bool:
        """Whether a roll-out may end with what serves now.

        The alarms watch the endpoint, not a version: one that rings already would roll back every
        version, the one that mends it too, and a version that is rejected may yet set one off.
        https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
        """
        served = self.package(self.endpoint.served_package_arn) if self.endpoint else None
        is_rejected = served is not None and served.approval_status != APPROVED
        return not is_rejected and not self.ringing_alarms

    def desired(self, without: ModelPackage | None = None) -> ModelPackage | None:
        """The one pinned last, else approved last, among the packages that are approved now."""
        approved = [
            package
            for package in self.packages
            if package.approval_status == APPROVED and package.is_complete and package != without
        ]
        return max(approved, key=lambda p: (p.pinned_at, p.approved_at, p.version), default=None)

    def shadow(self, version: int) -> ModelPackage | None:
        """The package whose verdicts are only compared, unless it was rejected."""
        return next(
            (
                package
                for package in self.packages
                if package.version == version
                and package.is_complete
                and package.approval_status in (APPROVED, PENDING)
            ),
            None,
        )

    def pending(self) -> ModelPackage | None:
        """The newest package that waits for a reviewer."""
        waiting = [p for p in self.packages if p.approval_status == PENDING]
        return max(waiting, key=lambda p: p.version, default=None)
