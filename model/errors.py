"""What can go wrong in this package: one line each that says what, where and the valid form."""


class ModelError(Exception):
    """Base of every error that this package raises on purpose. Never holds review text."""


class DataError(ModelError):
    """Reviews, shards, labelled files or settings that cannot be used as they are."""


class ArchiveError(ModelError):
    """An archive that is damaged, or that holds what no honest archive would hold."""


class ArtifactError(ModelError):
    """A model directory or model.tar.gz that its manifest does not vouch for."""


class TrainingError(ModelError):
    """Training that cannot go on, such as a loss that is no number."""


class StoppedError(TrainingError):
    """Training that was asked to stop, and left a checkpoint to go on from."""
