from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from datetime import timedelta

import pytest
from deploy_model.app import Outcome
from deploy_model.errors import LeaseHeldError
from deploy_model.lease import Lease
from deploy_model.settings import Settings

from tests.deploy_model.artifacts import FILES, archive, packed
from tests.deploy_model.world import ARN, LEASE, World

Call = Callable[..., Outcome]
FLIPPED = FILES | {"model.safetensors": b"weightz"}
SPOILED = {
    "one byte is another": (archive(FLIPPED, FILES), "model.safetensors: its SHA-256"),
    "a file is slipped in": (archive(FILES | {"x.py": b""}, FILES), "x.py: is in the artifact"),
    "a file is missing": (archive({"config.json": b"{}"}, FILES), "is named by manifest.json"),
    "there is no manifest": (packed(FILES), "manifest.json: is not in the artifact"),
    "the manifest is none": (packed({"manifest.json": b"[]"}), "is no manifest"),
    "a name leads outside": (packed({"../x": b""}), "no plain file"),
    "a member is a link": (packed({"x": b""}, tarfile.SYMTYPE), "no plain file"),
    "a member is a device": (packed({"x": b""}, tarfile.CHRTYPE), "no plain file"),
    "it is cut off": (archive()[:-20], "no whole tar.gz archive"),
    "it is no archive": (b"hello", "no whole tar.gz archive"),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_spoiled_version_is_refused_by_name_and_the_old_one_keeps_serving(
    world: World, call: Call, spoiled: str
) -> None:
    content, words = SPOILED[spoiled]
    good = world.register("Approved")
    call()
    world.settle()
    bad = world.register("Approved")
    world.objects[f"runs/{bad}/model.tar.gz"] = content
    outcome = call()
    assert outcome["status"] == "failed"
    assert words in outcome["message"]
    assert f"version {good} keeps serving" in outcome["message"]
    assert "UpdateEndpoint" not in world.changes()
    assert (world.served(), world.updates) == (good, 0)


def test_a_version_whose_archive_is_gone_is_refused(world: World, call: Call) -> None:
    version = world.register("Approved")
    del world.objects[f"runs/{version}/model.tar.gz"]
    assert "not in the bucket any more" in call()["message"]
    assert world.endpoint is None


def test_an_image_without_a_digest_is_refused(world: World, call: Call) -> None:
    world.packages[world.register("Approved")].image = "repository:latest"
    outcome = call()
    assert outcome["status"] == "failed"
    assert "its image is named without a digest" in outcome["message"]


def test_a_refusal_is_noted_so_that_the_archive_is_not_read_again(
    world: World, call: Call, settings: Settings
) -> None:
    version = world.register("Approved")
    world.objects[f"runs/{version}/model.tar.gz"] = b""
    call()
    assert "deploy_failed_model" in world.packages[version].notes
    world.objects[f"runs/{version}/model.tar.gz"] = archive()
    world.sent.clear()
    assert call()["status"] == "failed"
    assert world.sent == []
    world.review(version, "Approved")
    call()
    world.settle()
    assert world.served() == version


def test_what_was_served_is_recorded_once(world: World, call: Call) -> None:
    world.register("Approved")
    call()
    world.settle()
    call()
    records = [key for key in world.objects if "/history/" in key]
    assert len(records) == 1
    world.sent.clear()
    call()
    assert world.sent == []


def test_the_end_of_what_is_not_replaced_is_recorded_before_the_endpoint_goes(
    world: World, call: Call
) -> None:
    version = world.register("Approved")
    call()
    world.settle()
    call()
    world.review(version, "Rejected")
    world.sent.clear()
    call()
    assert world.changes() == ["PutObject", "DeleteEndpoint"]
    (end,) = [
        json.loads(body) for key, body in world.objects.items() if key.endswith("-ended.json")
    ]
    assert (end["outcome"], end["version"]) == ("ended", version)


def test_a_lease_that_another_holds_defers_the_change_until_it_runs_out(
    world: World, call: Call, settings: Settings
) -> None:
    world.register("Approved")
    assert Lease(world.client("s3"), settings).take(world.clock)
    with pytest.raises(LeaseHeldError, match="must be made again"):  # or the event would be lost
        call()
    assert call(f"{ARN}:model-package/sentiment/1")["status"] == "deploying"
    assert world.sent == []
    world.clock += timedelta(seconds=settings.lease_s + 1)
    call()
    assert "CreateEndpoint" in world.changes()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"expires_at": "soon"}', b'{"expires_at": "2027-01-01T00:00:00+00:00"}']
)
def test_a_lease_that_cannot_be_one_binds_nobody(world: World, call: Call, body: bytes) -> None:
    world.register("Approved")
    world.objects[LEASE] = body
    call()
    assert "CreateEndpoint" in world.changes()


def test_a_pinned_version_is_served_whatever_is_approved_after_it(world: World, call: Call) -> None:
    pinned = world.register("Approved")
    world.packages[pinned].notes["pinned_at"] = world.clock.isoformat()
    world.register("Approved")
    call()
    world.settle()
    assert world.served() == pinned


def test_a_pin_is_void_once_the_version_was_decided_on_anew(world: World, call: Call) -> None:
    pinned = world.register("Approved")
    world.packages[pinned].notes["pinned_at"] = world.clock.isoformat()
    for status in ("Rejected", "Approved"):  # in Studio, which leaves what is noted alone
        world.review(pinned, status)
    world.clock += timedelta(minutes=1)
    newer = world.register("Approved")
    call()
    world.settle()
    assert world.served() == newer
