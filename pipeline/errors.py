"""What can go wrong for the person at the command line; `cli` prints it as one line."""

from __future__ import annotations


class SentimentError(Exception):
    """Base of every error that is explained to the user: what, where, and the valid form."""


class SettingsError(SentimentError):
    """The environment or an option holds something that is not understood."""


class DataError(SentimentError):
    """The reviews to train on cannot be found, read or trusted."""


class SourceError(SentimentError):
    """A file that a job needs is missing from the clone."""


class ParameterError(SentimentError):
    """A pipeline parameter is unknown, of the wrong type or outside its enumeration."""


class ExecutionError(SentimentError):
    """An execution or a step is unknown, or it failed."""


class RegistryError(SentimentError):
    """A model version is unknown or cannot be changed as asked."""


class EndpointError(SentimentError):
    """The endpoint is missing, not ready, or refused a request."""


class ServeError(SentimentError):
    """The local web server cannot be started."""


class StackError(SentimentError):
    """The CloudFormation stack is missing, busy, or could not be changed as asked."""
