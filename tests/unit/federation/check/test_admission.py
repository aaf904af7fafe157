"""In which namespaces the tolerations of pods are tried."""

from pathlib import Path

from federation.check.admission import tolerations
from federation.check.findings import Level
from federation.check.site import Peer, Site
from federation.config import AgentConfig
from tests.builders import make_error
from tests.unit.federation.check.api import Api
from vnode.kube.config import Connection

NAMESPACES = "/api/v1/namespaces"


def site(api: Api, *namespaces: str) -> Site:
    tenant = {"name": "red", "namespaces": list(namespaces)}
    clusters = [{"name": "gpu", "kubeconfig": "k"}]
    config = AgentConfig.model_validate({"tenant": tenant, "clusters": clusters})
    return Site(config, Path("c.yaml"), Peer("tenant", Connection("tenant"), opened=api.client), {})


def listed(*names: str) -> object:
    return {"metadata": {}, "items": [{"metadata": {"name": name}} for name in names]}


async def test_where_all_are_forwarded_a_namespace_takes_part_by_its_label() -> None:
    api = Api()
    api.answers[NAMESPACES] = listed()

    (finding,) = await tolerations(site(api))

    assert finding.level is Level.WARN
    assert finding.mend == "kubectl label namespace NAME vnode.dev/virtual-nodes=enabled"


async def test_labelled_and_listed_namespaces_are_tried() -> None:
    api = Api()
    api.answers[NAMESPACES] = listed("team-a", "kube-system")
    api.denies = make_error(403, 'User "u" cannot create resource "pods" in API group ""')

    for tried in (site(api), site(api, "team-a")):
        (finding,) = await tolerations(tried)
        assert finding.level is Level.UNTRIED
        assert "create pods (dry run)" in finding.text
    assert api.asked == [NAMESPACES, "create pods in team-a", "create pods in team-a"]
