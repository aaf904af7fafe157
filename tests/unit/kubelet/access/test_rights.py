import pytest
from cryptography import x509

from tests.certificates import make_client_certificate
from tests.unit.kubelet.fakes import NODE
from vnode.kubelet.access.rights import (
    Caller,
    Credentials,
    bearer_token,
    certificate_caller,
    required_access,
)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, ""),
        ("", ""),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer \udcff\udcfe", ""),
        ("BEARER abc", "abc"),
        ("Basic YTpi", ""),
        ("Bearer", ""),
        ("abc", ""),
    ],
)
def test_a_bearer_token_is_found_whatever_the_case_of_its_scheme(
    header: str | None, token: str
) -> None:
    assert bearer_token(header) == token


def test_a_certificate_names_a_user_and_groups() -> None:
    certificate = make_client_certificate(
        ("O", "system:masters"),
        ("O", "ops"),
        ("OU", "x"),
        ("CN", "not the last"),
        ("CN", "kube-apiserver-kubelet-client"),
    )
    assert certificate_caller(certificate) == Caller(
        name="kube-apiserver-kubelet-client",
        groups=("system:masters", "ops", "system:authenticated"),
    )


@pytest.mark.parametrize(
    "certificate",
    [
        None,
        make_client_certificate(),
        make_client_certificate(("O", "system:masters")),
        make_client_certificate(("CN", "somebody"), ("CN", "")),
    ],
    ids=["none", "empty", "group only", "empty name"],
)
@pytest.mark.filterwarnings("ignore:Attribute.s length")
def test_a_certificate_that_names_nobody_is_nobody(certificate: x509.Certificate | None) -> None:
    assert certificate_caller(certificate) is None


@pytest.mark.parametrize(
    ("method", "runs_code", "verb"),
    [
        ("GET", False, "get"),
        ("POST", False, "create"),
        ("PUT", False, "update"),
        ("PATCH", False, "patch"),
        ("DELETE", False, "delete"),
        ("OPTIONS", False, ""),
        ("GET", True, "create"),
        ("POST", True, "create"),
    ],
)
def test_the_verb_follows_the_method_and_what_runs_code_is_create(
    method: str, runs_code: bool, verb: str
) -> None:
    access = required_access(node=NODE, method=method, subresources=("proxy",), runs_code=runs_code)
    assert access.verb == verb


def test_credentials_do_not_show_a_token() -> None:
    assert "secret" not in repr(Credentials(token="secret"))
