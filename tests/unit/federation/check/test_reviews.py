"""What a credential may: few questions, and the API server's last word."""

import pytest

from federation.check.findings import Level
from federation.check.reviews import missing_rights
from federation.check.rights import excess
from federation.rights import Right
from tests.unit.federation.check.api import Api

LOG = Right("get", "pods/log", "kubectl logs", namespace="red--a")
LIST = Right("list", "pods", "run the pods", namespace="red--a")
NODES = Right("list", "nodes", "know the capacity")
GRANTED = [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]


@pytest.fixture
def api() -> Api:
    made = Api()
    made.rules["red--a"] = GRANTED
    return made


async def test_what_the_rules_of_a_namespace_grant_is_not_asked_one_by_one(api: Api) -> None:
    assert await missing_rights(api.client, [LIST]) == []
    assert api.asked == ["rules in red--a"]


async def test_what_rules_do_not_say_is_asked_and_the_answer_counts(api: Api) -> None:
    assert await missing_rights(api.client, [LIST, LOG]) == [LOG]
    api.allows = lambda about: (about["resource"], about["subresource"]) == ("pods", "log")
    assert await missing_rights(api.client, [LIST, LOG]) == []


async def test_rights_in_the_whole_cluster_are_asked_without_namespace(api: Api) -> None:
    api.allows = lambda about: about["namespace"] == ""

    assert await missing_rights(api.client, [NODES]) == []
    assert api.asked == ["list nodes"]


async def test_a_credential_that_may_everything_is_one_warning(api: Api) -> None:
    api.allows = lambda about: True
    (finding,) = await excess(api.client, [], namespaces=["red--a"], mend="take it away")
    assert finding.level is Level.WARN
    assert "everything" in finding.text


async def test_a_right_that_reaches_beyond_the_tenant_is_a_warning(api: Api) -> None:
    api.allows = lambda about: (about["verb"], about["resource"]) == ("list", "secrets")
    (finding,) = await excess(api.client, [], namespaces=(), mend="take it away")
    assert "read every Secret of the cluster (list secrets)" in finding.text


async def test_what_the_configuration_needs_is_not_too_much(api: Api) -> None:
    api.allows = lambda about: (about["verb"], about["resource"]) == ("list", "secrets")
    needed = [Right("list", "secrets", "copy what pods refer to")]
    (finding,) = await excess(api.client, needed, namespaces=(), mend="")
    assert finding.level is Level.OK


async def test_the_right_for_one_object_is_no_right_for_all(api: Api) -> None:
    api.allows = lambda about: (about["verb"], about["resource"]) == ("create", "serviceaccounts")
    own = Right("create", "serviceaccounts/token", "renew", namespace="vnode-system", name="vnode")
    (finding,) = await excess(api.client, [own], namespaces=(), mend="")
    assert "become any ServiceAccount" in finding.text


async def test_more_than_needed_in_a_namespace_is_listed(api: Api) -> None:
    api.rules["red--a"] = [
        *GRANTED,
        {"verbs": ["delete"], "apiGroups": [""], "resources": ["services"]},
        {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["*"]},
    ]
    (finding,) = await excess(api.client, [LIST], namespaces=["red--a"], mend="")
    assert "may also delete services in namespace red--a" in finding.text
