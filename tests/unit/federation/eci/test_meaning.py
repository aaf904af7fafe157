"""What becomes of a pod by what the service says to its create."""

import pytest

from federation.backends.eci.errors import error_for
from federation.backends.eci.meaning import create_failed
from vnode.backend import Rejected, Waiting


@pytest.mark.parametrize(
    "code",
    ["InvalidParameter.CPU.Memory", "Invalid.Parameter.Ram", "MissingParameter.Container.1.Image"],
)
def test_a_wrong_parameter_rejects_the_pod(code: str) -> None:
    assert isinstance(create_failed(error_for(status=400, code=code, message="m")), Rejected)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("InvalidAccountStatus.NotEnoughBalance", "ComputeForbidden"),
        ("InvalidUser.NotRealNameAuthenticated", "ComputeForbidden"),
        ("InvalidPaymentMethod", "ComputeForbidden"),
        ("MissingAccessKeyId", "ComputeForbidden"),
        ("InvalidVpcId.NotFound", "ComputeMisconfigured"),
        ("InvalidVSwitchId.NotFound", "ComputeMisconfigured"),
        ("InvalidParameter.Unknown", "ComputeMisconfigured"),
        ("InvalidApi.NotFound", "ComputeError"),
        ("InvalidVersion", "ComputeError"),
        ("InvalidOperation.Whatever", "ComputeError"),
        ("UnsupportedHTTPMethod", "ComputeError"),
        ("DuplicateSomething", "ComputeError"),
    ],
)
def test_what_is_no_wrong_parameter_of_the_pod_fails_none(code: str, reason: str) -> None:
    failed = create_failed(error_for(status=400, code=code, message="m"))

    assert isinstance(failed, Waiting)
    assert failed.reason == reason


def test_a_request_that_is_too_long_says_so_and_made_nothing() -> None:
    failed = create_failed(error_for(status=414, code="", message=""))

    assert isinstance(failed, Waiting)
    assert (failed.reason, failed.not_done) == ("PodTooLarge", True)
    assert "too large" in str(failed)
