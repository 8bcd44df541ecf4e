"""An AWS account in a folder, for pipelines that run on one machine.

    import pipeline.local
    boto_session = pipeline.local.session(Path(".account"), images={"*/my-image:*": Image()})

Hand that session to the SageMaker SDK or take plain boto3 clients from it.
"""

from pipeline.local.account import Function, Image, Rule, session
from pipeline.local.clients import SDK_CONFIG
from pipeline.local.errors import LocalAccountError

__all__ = ["SDK_CONFIG", "Function", "Image", "LocalAccountError", "Rule", "session"]
