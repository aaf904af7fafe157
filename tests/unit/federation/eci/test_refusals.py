import base64
import json

import pytest

from federation.backends.eci import errors
from federation.backends.eci.refusals import refusal


def body(code: str, message: str = "words") -> bytes:
    return json.dumps({"Code": code, "Message": message, "RequestId": "R-1"}).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "Throttling.User", errors.Throttled),
        (503, "Throttling", errors.Throttled),
        (403, "OperationDenied.NoStock", errors.NoStock),
        (400, "Zone.NotOnSale", errors.NoStock),
        (403, "QuotaExceeded", errors.QuotaExceeded),
        (403, "InvalidParameter.DiskCapacityQuotaFull", errors.QuotaExceeded),
        (404, "ContainerGroup.NotFound", errors.NotFound),
        (404, "InvalidRegionId.NotFound", errors.InvalidParameter),
        (404, "SecurityGroup.NotFound", errors.InvalidParameter),
        (400, "InvalidParameter.CPU.Memory", errors.InvalidParameter),
        (400, "IdempotentParameterMismatch", errors.TokenReused),
        (404, "InvalidAccessKeyId.NotFound", errors.Denied),
        (400, "SignatureDoesNotMatch", errors.Denied),
        (400, "Account.Arrearage", errors.Denied),
        (500, "InternalError", errors.Unavailable),
        (503, "ServiceUnavailable", errors.Unavailable),
        (403, "InvalidVSwitchId.IpNotEnough", errors.QuotaExceeded),
        (403, "Throttling.Vcpu.PerDay", errors.QuotaExceeded),
        (400, "InvalidPaymentMethod.InsufficientBalance", errors.Denied),
        (403, "InvalidUser.PassRoleForbidden", errors.Denied),
        (403, "Spot.NotMatched", errors.NoStock),
        (400, "RecommendEmpty.InstanceTypeFamilyNotMatched", errors.NoStock),
        (400, "InvalidAccountStatus.NotEnoughBalance", errors.Denied),
        (403, "InvalidUser.NotRealNameAuthenticated", errors.Denied),
        (400, "MissingAccessKeyId", errors.Denied),
        (400, "OperationConflict", errors.Unavailable),
        (403, "OperationDenied.Whatever", errors.Refused),
        (400, "SomethingNew", errors.Refused),
    ],
)
def test_codes_have_a_meaning(status: int, code: str, kind: type[errors.EciError]) -> None:
    error = refusal("CreateContainerGroup", status, body(code), sent={})

    assert type(error) is kind
    assert error.code == code
    assert error.request_id == "R-1"


@pytest.mark.parametrize("status", [302, 404, 502])
def test_a_page_of_something_before_the_api_says_nothing_about_a_group(status: int) -> None:
    error = refusal("DeleteContainerGroup", status, b"<html>not found</html>", sent={})

    assert type(error) is errors.Unavailable


@pytest.mark.parametrize("status", [413, 414, 431])
def test_what_lets_no_request_of_that_length_through_was_no_failure_of_the_link(
    status: int,
) -> None:
    error = refusal("CreateContainerGroup", status, b"<html>too long</html>", sent={})

    assert type(error) is errors.RequestTooLarge


@pytest.mark.parametrize(
    "name",
    [
        "Container.1.EnvironmentVar.1.Value",
        "ImageRegistryCredential.1.Password",
        "Volume.1.FlexVolume.Options",
        "Command",
        "Container.1.Command.2",
        "InitContainer.1.Arg.3",
        "Container.1.LifecyclePostStartHandlerExec.3",
        "Container.1.LifecyclePreStopHandlerExec.1",
        "Container.1.LivenessProbe.Exec.Command.1",
    ],
)
def test_what_was_sent_in_confidence_is_not_said_again(name: str) -> None:
    error = refusal(
        "Create", 400, body("InvalidParameter", "hunter2 is bad"), sent={name: "hunter2"}
    )

    assert "hunter2" not in str(error) + repr(error)
    assert "*** is bad" in str(error)


def test_a_file_is_blotted_out_in_clear_as_well() -> None:
    sent = {"Volume.1.ConfigFileVolume.ConfigFileToPath.1.Content": "aHVudGVyMg=="}
    assert base64.b64decode("aHVudGVyMg==") == b"hunter2"

    error = refusal("Create", 400, body("InvalidParameter", "hunter2 / aHVudGVyMg=="), sent=sent)

    assert "hunter2" not in str(error)
    assert "aHVudGVyMg" not in str(error)
