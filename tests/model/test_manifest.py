import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.errors import ArtifactError
from model.manifest import REQUIRED, verify, write_manifest
from tests.model.factory import ROOT

FILES = [*REQUIRED, "code/model/text.py"]


def test_every_file_but_itself_is_vouched_for(artifact: Path) -> None:
    entries = verify(artifact)
    found = {p.relative_to(artifact).as_posix() for p in artifact.rglob("*") if p.is_file()}
    assert set(entries) == found - {"manifest.json"}
    document = json.loads((artifact / "manifest.json").read_text())
    assert document["format"] == 1
    size = (artifact / "config.json").stat().st_size
    assert document["files"]["config.json"]["size_bytes"] == size


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_refused_by_name(artifact: Path, name: str) -> None:
    data = bytearray((artifact / name).read_bytes())
    data[len(data) // 2] ^= 1
    (artifact / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=f"^{name}: its SHA-256"):
        verify(artifact)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(artifact: Path, name: str) -> None:
    (artifact / name).unlink()
    with pytest.raises(ArtifactError, match=f"^{name}: is named by"):
        verify(artifact)


def test_a_longer_file_is_refused_by_name(artifact: Path) -> None:
    with (artifact / "config.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtifactError, match=r"^config\.json: has \d+ bytes"):
        verify(artifact)


@pytest.mark.parametrize("name", ["code/model/more.py", "extra.json"])
def test_a_file_slipped_in_is_refused_by_name(artifact: Path, name: str) -> None:
    (artifact / name).write_text("{}")
    with pytest.raises(ArtifactError, match=f"^{name}: is in the artifact, but not in its"):
        verify(artifact)


@pytest.mark.parametrize(
    "name", ["model.pkl", "model.pth", "code/__pycache__/x.cpython-311.pyc", "code/x.so", "a\nb.py"]
)
def test_no_other_kind_of_file_can_be_vouched_for(artifact: Path, name: str) -> None:
    (artifact / name).parent.mkdir(exist_ok=True)
    (artifact / name).write_bytes(b"x")
    with pytest.raises(ArtifactError):
        verify(artifact)
    with pytest.raises(ArtifactError):
        write_manifest(artifact)


def test_links_are_refused(artifact: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_bytes((artifact / "config.json").read_bytes())
    (artifact / "config.json").unlink()
    (artifact / "config.json").symlink_to(outside)
    with pytest.raises(ArtifactError, match=r"config\.json: is a link"):
        verify(artifact)


def test_a_pipe_is_refused(artifact: Path) -> None:
    os.mkfifo(artifact / "pipe.json")
    with pytest.raises(ArtifactError, match=r"pipe\.json: is a link or a device"):
        verify(artifact)


@pytest.mark.parametrize(
    "document",
    [
        "[]",
        "{",
        '{"format": 2, "files": {}}',
        '{"format": 1, "files": []}',
        '{"format": 1, "files": {"config.json": {"sha256": 1, "size_bytes": 1}}}',
        '{"format": 1, "files": {"config.json": "abc"}}',
    ],
)
def test_a_manifest_of_another_form_is_refused(artifact: Path, document: str) -> None:
    (artifact / "manifest.json").write_text(document)
    with pytest.raises(ArtifactError, match=r"manifest\.json: is no manifest of format 1"):
        verify(artifact)


def test_no_manifest_no_artifact(artifact: Path) -> None:
    (artifact / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json: is not in the artifact"):
        verify(artifact)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_manifest_without_the_essential_is_refused(artifact: Path, name: str) -> None:
    path = artifact / "manifest.json"
    document = json.loads(path.read_text())
    del document["files"][name]
    path.write_text(json.dumps(document))
    (artifact / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: is missing from manifest"):
        verify(artifact)


def test_checking_needs_the_standard_library_alone() -> None:
    program = (
        "import sys, model.manifest; "
        "print({name.split('.')[0] for name in sys.modules} & {'torch', 'numpy', 'safetensors'})"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
