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
    Silent,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    Untrusted,
    api_error,
)
from vnode.kube.types import Status, StatusCause, StatusDetails


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (400, "", BadRequest, False),
        (401, "", Unauthorized, True),
        (403, "", Forbidden, False),
        (404, "", NotFound, False),
        (409, "Conflict", Conflict, True),
        (409, "AlreadyExists", AlreadyExists, True),
        (410, "", Gone, False),
        (500, "Expired", Gone, True),
        (422, "", Invalid, False),
        (429, "", TooManyRequests, True),
        (418, "", ApiError, False),
        (503, "", ServerError, True),
    ],
)
def test_codes_and_reasons_choose_the_class(
    code: int, reason: str, kind: type[ApiError], retryable: bool
) -> None:
    error = api_error(code, Status(message="why", reason=reason))
    assert type(error) is kind
    assert (error.code, error.message, error.is_retryable) == (code, "why", retryable)


def test_a_patch_for_another_uid_is_a_conflict_although_the_server_says_invalid() -> None:
    causes = [StatusCause(field="metadata.uid", reason="FieldValueInvalid")]
    error = api_error(422, Status(reason="Invalid", details=StatusDetails(causes=causes)))
    assert type(error) is Conflict
    assert error.code == 409


def test_the_wait_of_the_body_counts_where_the_header_has_none() -> None:
    status = Status(details=StatusDetails(retry_after_seconds=7))
    assert api_error(429, status).retry_after == 7
    assert api_error(429, status, retry_after=2).retry_after == 2


@pytest.mark.parametrize("kind", [Unreachable, Silent, Untrusted])
def test_no_answer_is_always_worth_another_try(kind: type[Unreachable]) -> None:
    assert kind("x").is_retryable
    assert isinstance(kind("x"), Unreachable)
