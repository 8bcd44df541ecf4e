from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.tensors import Array, read_tensors, tensor_bytes


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    tensors: dict[str, Array] = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array([-1, 2], dtype=np.int8),
        "empty": np.empty(0, dtype=np.int64),
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_bytes(tensors, {"format": "1"}))
    again, metadata = read_tensors(path)
    assert metadata == {"format": "1"}
    assert {name: array.tolist() for name, array in again.items()} == {
        name: array.tolist() for name, array in tensors.items()
    }


def test_equal_content_gives_equal_bytes() -> None:
    array = np.arange(3, dtype=np.int32)
    one = tensor_bytes({"a": array, "b": array}, {"x": "1", "y": "2", "z": "3"})
    two = tensor_bytes({"b": array, "a": array}, {"z": "3", "y": "2", "x": "1"})
    assert one == two


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickle", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.safetensors: is not a readable safetensors file"):
        read_tensors(path)
