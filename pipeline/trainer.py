"""ModelTrainer whose uploads are named by their content instead of by the time of day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sagemaker.train import ModelTrainer

from pipeline.packages import content_digest
from pipeline.source import folder_files, upload


class ContentAddressedTrainer(ModelTrainer):  # type: ignore[misc]  # the SDK is untyped
    """Uploads folders (the SDK's driver scripts) under a digest of what is in them.

    ModelTrainer puts them under a prefix with a time in it; a definition made from it would
    differ at every compile, and SageMaker's step cache, which compares URIs, would never hit.
    """

    def create_input_data_channel(
        self, channel_name: str, data_source: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """As ModelTrainer's; a local folder is replaced by its content-addressed copy in S3."""
        if isinstance(data_source, str) and not data_source.startswith("s3://"):
            files = folder_files(Path(data_source))
            session = self.sagemaker_session
            data_source = upload(
                session.boto_session.client("s3"),
                session.default_bucket(),
                f"source/{channel_name}/{content_digest(files)}",
                files,
            )
            if self._temp_code_dir is not None:
                # The SDK makes this folder for each compile and leaves it to the garbage collector.
                self._temp_code_dir.cleanup()
        return super().create_input_data_channel(channel_name, data_source, *args, **kwargs)
