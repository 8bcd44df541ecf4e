import shutil
import sys
from pathlib import Path

import pytest

import model
from inference.hooks import LoadError, load_hooks
from model.manifest import write_manifest

pytestmark = pytest.mark.usefixtures("own_modules")


@pytest.fixture
def artifact(tmp_path: Path, pristine_artifact: Path) -> Path:
    return Path(shutil.copytree(pristine_artifact, tmp_path / "model"))


def test_a_version_brings_its_own_model_package(artifact: Path) -> None:
    hooks = load_hooks(artifact)
    assert sys.modules["model"] is not model
    assert str(sys.modules["model.predictor"].__file__).startswith(str(artifact))
    answer = hooks.predict_fn(hooks.input_fn(b"good", "text/plain"), hooks.model_fn(str(artifact)))
    assert answer["predictions"][0]["token_count"] == 1


def test_loading_adds_nothing_to_the_version(artifact: Path) -> None:
    for _ in range(2):
        load_hooks(artifact)
    assert not list(artifact.rglob("__pycache__"))


@pytest.mark.parametrize("name", ["code/inference.py", "code/model/predictor.py"])
def test_changed_code_is_refused_by_name_and_never_runs(
    artifact: Path, tmp_path: Path, name: str
) -> None:
    ran = tmp_path / "ran"
    with (artifact / name).open("a") as file:
        file.write(f"\nopen({str(ran)!r}, 'w')\n")
    with pytest.raises(LoadError, match=f"^{name}: has"):
        load_hooks(artifact)
    assert not ran.exists()


def test_a_compiled_module_slipped_in_is_refused(artifact: Path) -> None:
    cache = artifact / "code/model/__pycache__"
    cache.mkdir()
    (cache / "text.cpython-311.pyc").write_bytes(b"x")
    with pytest.raises(LoadError, match=r"text\.cpython-311\.pyc"):
        load_hooks(artifact)


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"manifest\.json: is not in the artifact"):
        load_hooks(tmp_path / "none")


@pytest.mark.parametrize("program", ["other.py", "../inference.py", "model/none.py"])
def test_only_what_the_manifest_names_is_run(artifact: Path, program: str) -> None:
    with pytest.raises(LoadError, match="is not in the artifact's manifest"):
        load_hooks(artifact, program)


def test_a_missing_hook_is_named(artifact: Path) -> None:
    path = artifact / "code/inference.py"
    path.write_text(path.read_text().replace("def predict_fn", "def predict"))
    write_manifest(artifact)
    with pytest.raises(LoadError, match=r"code/inference\.py: has no predict_fn"):
        load_hooks(artifact)
