import json

import pytest

from vnode.kubelet.answers import relayed_code, status_answer, text_answer


@pytest.mark.parametrize(
    ("below", "relayed"), [(400, 400), (404, 404), (503, 503), (401, 502), (200, 502), (302, 502)]
)
def test_only_failures_that_concern_the_client_keep_their_code(below: int, relayed: int) -> None:
    assert relayed_code(below) == relayed


def test_a_status_is_what_client_go_reads() -> None:
    answer = status_answer(404, "gone")
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "gone",
        "reason": "NotFound",
        "code": 404,
    }


def test_a_text_is_plain() -> None:
    answer = text_answer(400, "no")
    assert (answer.status, answer.text, answer.content_type) == (400, "no", "text/plain")
