"""What can go wrong in the deploy function, by name."""


class DeployError(Exception):
    """Base of everything this package raises on purpose."""


class SettingsError(DeployError):
    """A setting is missing, unknown or has an illegal value."""


class EventError(DeployError):
    """The event is none of those this function answers."""


class ArtifactError(DeployError):
    """A version's files or image are not what they are said to be; it must not be served."""


class LeaseHeldError(DeployError):
    """Another call keeps the lease; what was asked for is not done and must be asked for again."""
