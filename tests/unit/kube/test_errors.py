"""HTTP answers as errors by meaning."""

import pytest

from vnode.kube.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    api_error,
)
from vnode.kube.types import Status, StatusCause, StatusDetails


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "", BadRequest),
        (401, "", Unauthorized),
        (403, "", Forbidden),
        (404, "", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "", Gone),
        (500, "Expired", Gone),
        (422, "", Invalid),
        (429, "", TooManyRequests),
        (418, "", ApiError),
        (503, "", ServerError),
    ],
)
def test_codes_and_reasons_choose_the_class(code: int, reason: str, kind: type[ApiError]) -> None:
    error = api_error(code, Status(message="why", reason=reason))
    assert type(error) is kind
    assert (error.code, error.message) == (code, "why")


def test_a_patch_for_another_uid_is_a_conflict_although_the_server_says_invalid() -> None:
    causes = [StatusCause(field="metadata.uid", reason="FieldValueInvalid")]
    error = api_error(422, Status(reason="Invalid", details=StatusDetails(causes=causes)))
    assert type(error) is Conflict
    assert error.code == 409


def test_the_wait_of_the_body_counts_where_the_header_has_none() -> None:
    status = Status(details=StatusDetails(retry_after_seconds=7))
    assert api_error(429, status).retry_after == 7
    assert api_error(429, status, retry_after=2).retry_after == 2
