"""Tensors in safetensors files: no pickle, and equal content gives equal bytes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from model.errors import DataError

_DTYPES = {"float32": "F32", "int64": "I64", "int32": "I32", "int8": "I8", "uint8": "U8"}

Array = NDArray[Any]


def tensor_bytes(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file; equal content gives equal bytes.

    The library keeps metadata in a hash map, so its bytes differ from call to call; digests of
    shards and weights must not. Form: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    chunks: list[bytes] = []
    offset = 0
    # widest type first keeps every tensor aligned for memory mapping
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        data = np.ascontiguousarray(array).tobytes()
        end = offset + len(data)
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        chunks.append(data)
        offset = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([len(head).to_bytes(8, "little"), head, *chunks])


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    try:
        data = path.read_bytes()
        tensors = load_safetensors(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path}: is not a readable safetensors file") from error
    return dict(tensors), dict(head.get("__metadata__") or {})
