from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from pipeline.endpoint import Endpoint, http_event, predict_through_api
from pipeline.errors import EndpointError
from pipeline.settings import Account, Settings
from pipeline.target import Target

ARN = "arn:aws:sagemaker:us-east-1:000000000000:model-package/sentiment"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Stubbed:
    """A target whose three services answer what a test has put in line."""

    def __init__(self, account: Account) -> None:
        session = boto3.Session("test", "test", region_name=account.region)
        services = ("sagemaker", "sagemaker-runtime", "lambda")
        clients: dict[str, Any] = {name: session.client(name) for name in services}  # type: ignore[call-overload]
        self.stubs = {name: Stubber(client) for name, client in clients.items()}
        self.target = Target(
            settings=Settings(),
            account=account,
            session=session,
            poll_s=0.0,
            deploy_timeout_s=1.0,
            log_place=lambda group, stream: "",
            file_place=lambda bucket, key: "",
            _clients=clients,
        )

    def serves(
        self, version: int, status: str = "InService", reason: str = "", changed: datetime = NOW
    ) -> None:
        """Put the three answers in line that say what the endpoint serves."""
        stub = self.stubs["sagemaker"]
        answer = {
            "EndpointName": "sentiment",
            "EndpointArn": "arn:aws:sagemaker:us-east-1:000000000000:endpoint/sentiment",
            "EndpointConfigName": "c",
            "EndpointStatus": status,
            "CreationTime": NOW,
            "LastModifiedTime": changed,
            "FailureReason": reason,
        }
        stub.add_response("describe_endpoint", answer, {"EndpointName": "sentiment"})
        config = {
            "EndpointConfigName": "c",
            "EndpointConfigArn": "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/c",
            "ProductionVariants": [{"VariantName": "v", "ModelName": "m"}],
            "CreationTime": NOW,
        }
        stub.add_response("describe_endpoint_config", config, {"EndpointConfigName": "c"})
        model = {
            "ModelName": "m",
            "ModelArn": "arn:aws:sagemaker:us-east-1:000000000000:model/m",
            "CreationTime": NOW,
            "PrimaryContainer": {"ModelPackageName": f"{ARN}/{version}"},
        }
        stub.add_response("describe_model", model, {"ModelName": "m"})

    def compares(self, theirs: int, ours: int, later: bool, **more: str) -> None:
        """Put the answers in line that say when two versions were decided on."""
        for version, seconds in ((theirs, int(later)), (ours, 0)):
            arn = f"{ARN}/{version}"
            answer = {
                "ModelPackageName": "sentiment",
                "ModelPackageArn": arn,
                "CreationTime": NOW - timedelta(days=1),
                "LastModifiedTime": NOW + timedelta(seconds=seconds),
                "ModelPackageStatus": "Completed",
                "ModelPackageStatusDetails": {"ValidationStatuses": []},
                "CustomerMetadataProperties": more if version == theirs else {},
            }
            self.stubs["sagemaker"].add_response(
                "describe_model_package", answer, {"ModelPackageName": arn}
            )

    def judges(self, *sizes: int) -> None:
        """Put an answer in line for each request of so many reviews; it tells its size."""
        for size in sizes:
            one = {"label": "positive", "probability": 0.9, "token_count": size}
            self.stubs["sagemaker-runtime"].add_response(
                "invoke_endpoint",
                {"Body": body({"predictions": [one] * size, "model_version": "3"})},
                {"EndpointName": "sentiment", "ContentType": ANY, "Accept": ANY, "Body": ANY},
            )

    def has_none(self) -> None:
        self.stubs["sagemaker"].add_client_error(
            "describe_endpoint", "ValidationException", 'Could not find endpoint "sentiment".'
        )


@pytest.fixture
def stubbed(account: Account) -> Iterator[Stubbed]:
    made = Stubbed(account)
    for stub in made.stubs.values():
        stub.activate()
    yield made
    for stub in made.stubs.values():
        stub.assert_no_pending_responses()


def body(value: Any) -> StreamingBody:
    content = json.dumps(value).encode()
    return StreamingBody(io.BytesIO(content), len(content))


def test_it_says_which_version_is_served_since_when(stubbed: Stubbed) -> None:
    stubbed.serves(3)
    served = Endpoint(stubbed.target).served()
    assert served is not None
    assert served.as_json() == {
        "endpoint": "sentiment",
        "status": "InService",
        "version": 3,
        "model_package_arn": f"{ARN}/3",
        "since": "2026-01-01T00:00:00+00:00",
        "endpoint_config": "c",
        "reason": "",
    }


def test_without_an_endpoint_nothing_is_served(stubbed: Stubbed) -> None:
    stubbed.has_none()
    assert Endpoint(stubbed.target).served() is None


def test_waiting_ends_when_the_version_is_served(stubbed: Stubbed) -> None:
    stubbed.has_none()
    stubbed.serves(1, "Creating")
    stubbed.serves(1)
    assert Endpoint(stubbed.target).wait_for(f"{ARN}/1", 5).version == 1


def test_waiting_goes_on_while_the_old_version_is_still_served(stubbed: Stubbed) -> None:
    stubbed.serves(1)
    stubbed.compares(1, 2, later=False)
    stubbed.serves(1, "Updating")
    stubbed.serves(2)
    assert Endpoint(stubbed.target).wait_for(f"{ARN}/2", 5).version == 2


def test_waiting_ends_when_the_new_version_was_rolled_back(stubbed: Stubbed) -> None:
    stubbed.serves(1, "Updating")
    stubbed.serves(1, reason="never became healthy")
    stubbed.compares(1, 2, later=False)
    with pytest.raises(EndpointError, match="version 2 could not be served: never became healthy"):
        Endpoint(stubbed.target).wait_for(f"{ARN}/2", 5)


def test_waiting_ends_when_a_version_approved_later_is_served_instead(stubbed: Stubbed) -> None:
    stubbed.serves(1, "Updating")
    stubbed.serves(3)
    stubbed.compares(3, 2, later=True)
    assert Endpoint(stubbed.target).wait_for(f"{ARN}/2", 5).version == 3


def test_waiting_ends_when_a_pinned_version_is_served_instead(stubbed: Stubbed) -> None:
    stubbed.serves(1)
    stubbed.compares(1, 2, later=False, pinned_at=NOW.isoformat())
    assert Endpoint(stubbed.target).wait_for(f"{ARN}/2", 5).version == 1


def test_waiting_ends_when_the_endpoint_has_failed(stubbed: Stubbed) -> None:
    stubbed.serves(1, "Creating")
    stubbed.serves(1, "Failed", "no image")
    with pytest.raises(EndpointError, match="version 1 could not be served: no image"):
        Endpoint(stubbed.target).wait_for(f"{ARN}/1", 5)


def test_a_roll_back_is_noticed_that_happened_between_two_looks(stubbed: Stubbed) -> None:
    stubbed.serves(1)
    stubbed.compares(1, 2, later=False)
    stubbed.serves(1, reason="never became healthy", changed=NOW + timedelta(seconds=1))
    stubbed.compares(1, 2, later=False)
    with pytest.raises(EndpointError, match="version 2 could not be served: never became healthy"):
        Endpoint(stubbed.target).wait_for(f"{ARN}/2", 5)


def test_an_endpoint_that_had_failed_before_is_given_its_time(stubbed: Stubbed) -> None:
    stubbed.serves(1, "Failed", "no image")
    stubbed.has_none()
    stubbed.serves(2)
    assert Endpoint(stubbed.target).wait_for(f"{ARN}/2", 5).version == 2


def test_waiting_ends_with_the_time(stubbed: Stubbed) -> None:
    stubbed.has_none()
    with pytest.raises(EndpointError, match="version 1 is not served after 0 s"):
        Endpoint(stubbed.target).wait_for(f"{ARN}/1", 0)


def test_reviews_are_sent_a_few_dozen_at_a_time_and_answered_in_order(stubbed: Stubbed) -> None:
    stubbed.judges(32, 8)
    predictions = list(Endpoint(stubbed.target).predict(f"review {n}" for n in range(40)))
    assert [one.token_count for one in predictions] == [32] * 32 + [8] * 8
    assert {one.model_version for one in predictions} == {"3"}


def test_long_reviews_are_sent_in_smaller_requests(stubbed: Stubbed) -> None:
    stubbed.judges(1, 3)
    reviews = ["x" * 300_000, "y" * 300_000, "short", "short"]
    predictions = list(Endpoint(stubbed.target).predict(reviews))
    assert [one.token_count for one in predictions] == [1, 3, 3, 3]


def test_asking_before_anything_is_served_says_how_to_get_there(stubbed: Stubbed) -> None:
    stubbed.stubs["sagemaker-runtime"].add_client_error("invoke_endpoint", "ValidationError")
    stubbed.has_none()
    with pytest.raises(EndpointError, match="nothing is served yet"):
        list(Endpoint(stubbed.target).predict(["a review"]))


def test_the_api_is_asked_as_api_gateway_asks_it(stubbed: Stubbed) -> None:
    answer = {"label": "positive", "probability": 0.9, "model_version": "3", "request_id": "r"}
    stubbed.stubs["lambda"].add_response(
        "invoke",
        {"Payload": body({"statusCode": 200, "body": json.dumps(answer)})},
        {"FunctionName": "sentiment-predict-api", "Payload": ANY},
    )
    assert predict_through_api(stubbed.target, "fine") == answer


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (
            {"Payload": body({"statusCode": 503, "body": "{}"})},
            r"POST /predict answered 503: \{\}",
        ),
        (
            {"FunctionError": "Unhandled", "Payload": body({"errorMessage": "out of memory"})},
            "sentiment-predict-api failed: out of memory",
        ),
    ],
)
def test_an_answer_other_than_200_is_an_error(
    stubbed: Stubbed, response: dict[str, Any], words: str
) -> None:
    stubbed.stubs["lambda"].add_response("invoke", response)
    with pytest.raises(EndpointError, match=words):
        predict_through_api(stubbed.target, "fine")


def test_the_event_carries_the_review_as_json() -> None:
    event = http_event("it's “fine” 🎬")
    assert event["version"] == "2.0"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert json.loads(event["body"]) == {"review": "it's “fine” 🎬"}
