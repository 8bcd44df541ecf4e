import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.archives import ArchiveLimits
from model.artifact import load_artifact, pack, unpack, write_artifact
from model.errors import ArchiveError, ArtifactError
from model.files import sha256_of
from model.lstm import LSTMConfig, SentimentLSTM
from model.manifest import write_manifest
from model.tensors import read_tensors, tensor_bytes
from tests.model.factory import (
    archive_bytes,
    member,
    packed,
    tar_bytes,
    tiny_model,
    unvouched,
    vocabulary,
    write_tiny_artifact,
)


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def rewrite_json(path: Path, change: dict[str, Any]) -> None:
    document = json.loads(path.read_text())
    document.update(change)
    path.write_text(json.dumps(document))


def test_it_is_loaded_as_it_was_written(artifact: Path) -> None:
    loaded = load_artifact(artifact)
    weights = tiny_model().state_dict()
    assert loaded.vocabulary == vocabulary()
    assert all(torch.equal(loaded.model.state_dict()[name], weights[name]) for name in weights)
    assert loaded.document["training"] == {"epochs": []}
    assert loaded.document["source"] == {"run": "test"}
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_it_carries_its_code_along(artifact: Path) -> None:
    carried = {p.relative_to(artifact / "code").as_posix() for p in artifact.rglob("code/**/*.py")}
    assert {"inference.py", "model/predictor.py", "model/text.py"} <= carried
    assert not {"preprocess.py", "train.py"} & carried


def test_equal_models_give_equal_archives(tmp_path: Path, artifact: Path, code: Path) -> None:
    again = write_tiny_artifact(tmp_path / "again", code)
    for name, directory in (("a.tar.gz", artifact), ("b.tar.gz", again)):
        pack(directory, tmp_path / name)
    assert sha256_of(tmp_path / "a.tar.gz") == sha256_of(tmp_path / "b.tar.gz")


def test_what_was_packed_is_unpacked(tmp_path: Path, artifact: Path) -> None:
    unpack(packed(artifact, tmp_path / "p") / "model.tar.gz", tmp_path / "new" / "model")
    assert load_artifact(tmp_path / "new" / "model").vocabulary == vocabulary()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_an_archive_made_by_tar_is_unpacked(tmp_path: Path, artifact: Path) -> None:
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(artifact, ".")
    unpack(tmp_path / "model.tar.gz", tmp_path / "model")
    load_artifact(tmp_path / "model")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no inference\.py"):
        write_tiny_artifact(tmp_path / "model", tmp_path)
    assert not list((tmp_path / "model").iterdir())


def test_a_model_is_not_written_over_another(artifact: Path, code: Path) -> None:
    with pytest.raises(ArtifactError, match="is not empty"):
        write_artifact(artifact, tiny_model(), vocabulary(), code, training={}, source={})
    load_artifact(artifact)


def test_a_hostile_pickle_is_refused_and_never_runs(tmp_path: Path, artifact: Path) -> None:
    ran = tmp_path / "ran"
    hostile = pickle.dumps(Hostile(ran))
    archive = tmp_path / "model.tar.gz"
    for name in ("model.pkl", "model.pth", "model.safetensors", "code/weights.pkl"):
        archive.write_bytes(unvouched(artifact, {name: hostile}))
        with pytest.raises(ArtifactError, match=name):
            unpack(archive, tmp_path / "model")
    (artifact / "model.safetensors").write_bytes(hostile)
    write_manifest(artifact)
    with pytest.raises(ArtifactError, match=r"model\.safetensors: is not a readable safetensors"):
        load_artifact(artifact)
    assert not ran.exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "code/model/text.py"])
def test_one_flipped_byte_in_an_archive_is_refused_by_name(
    tmp_path: Path, artifact: Path, name: str
) -> None:
    data = bytearray((artifact / name).read_bytes())
    data[-2] ^= 1
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(unvouched(artifact, {name: bytes(data)}))
    with pytest.raises(ArtifactError, match=f"^{name}: its SHA-256"):
        unpack(archive, tmp_path / "model")
    assert not (tmp_path / "model").exists()


HOSTILE = {
    "dotdot": [member("../evil.py", b"x")],
    "dotdot below code": [member("code/../../evil.py", b"x")],
    "absolute": [member("/tmp/evil.py", b"x")],  # noqa: S108
    "symbolic link": [member("code", kind=tarfile.SYMTYPE, link="/etc")],
    "hard link": [member("config.json", kind=tarfile.LNKTYPE, link="/etc/passwd")],
    "device": [member("config.json", kind=tarfile.CHRTYPE)],
    "pipe": [member("config.json", kind=tarfile.FIFOTYPE)],
    "twice": [member("config.json", b"{}"), member("config.json", b"{}")],
    "file as directory": [member("code", b"x"), member("code/inference.py", b"x")],
    "shared library": [member("code/evil.so", b"x")],
    "path file": [member("code/evil.pth", b"x")],
    "compiled module": [member("code/__pycache__/text.pyc", b"x")],
    "nothing": [],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_leave_nothing_behind(tmp_path: Path, case: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(tar_bytes(HOSTILE[case]))
    with pytest.raises((ArchiveError, ArtifactError)):
        unpack(archive, place / "model")
    assert not list(place.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tar.gz", "place"]


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.artifact._LIMITS", ArchiveLimits(ratio_free_bytes=1 << 20))
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(archive_bytes({"model.safetensors": bytes(1 << 20)} | {"config.json": b""}))
    with pytest.raises(ArchiveError, match="inflates beyond"):
        unpack(archive, tmp_path / "model")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model\.tar\.gz: no such file"):
        unpack(tmp_path / "model.tar.gz", tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "config.json: is not of format 1"),
        ({"text": {"preset": "other"}}, "unknown text preset"),
        ({"model": {}}, "must hold exactly"),
        ({"model": {**tiny_model().config.to_json(), "vocabulary_size": 7}}, "vocabulary_size is"),
        ({"model": {**tiny_model().config.to_json(), "hidden_dim": 7}}, "its shapes are not"),
    ],
)
def test_a_vouched_for_but_wrong_config_is_refused(
    artifact: Path, change: dict[str, Any], message: str
) -> None:
    rewrite_json(artifact / "config.json", change)
    write_manifest(artifact)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(artifact)


@pytest.mark.parametrize("value", [np.float32("nan"), np.float32("inf"), np.int32(1)])
def test_weights_that_are_no_finite_numbers_are_refused(artifact: Path, value: Any) -> None:
    path = artifact / "model.safetensors"
    tensors, metadata = read_tensors(path)
    tensors["output.bias"] = np.array([value])
    path.write_bytes(tensor_bytes(tensors, metadata))
    write_manifest(artifact)
    with pytest.raises(ArtifactError, match="no finite float32 number"):
        load_artifact(artifact)


def test_no_source_of_ours_knows_how_to_unpickle() -> None:
    root = Path(__file__).parents[2]
    for folder in ("model", "steps", "inference"):
        for path in (root / folder).rglob("*.py"):
            source = io.StringIO(path.read_text()).read()
            for forbidden in (
                "torch.load",
                "torch.save",
                "import pickle",
                "joblib",
                "allow_pickle",
            ):
                assert forbidden not in source, f"{path} uses {forbidden}"


@pytest.mark.parametrize("keys", [[4, 3], [3, 3]])
def test_ngrams_out_of_order_are_refused(tmp_path: Path, code: Path, keys: list[int]) -> None:
    model = SentimentLSTM(LSTMConfig(len(vocabulary()), ngram_count=2))
    model.ngrams.set(np.array(keys), np.zeros(2), 0.0)
    write_artifact(tmp_path / "model", model, vocabulary(), code, training={}, source={})
    with pytest.raises(ArtifactError, match="not in ascending order"):
        load_artifact(tmp_path / "model")
