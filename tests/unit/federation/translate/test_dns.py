"""Search domains of the tenant namespace resolve below."""

import pytest

from federation.backends.kubernetes.translate.dns import rewrite_domain
from tests.unit.federation.translate.builders import spec_below


@pytest.mark.parametrize(
    ("domain", "below"),
    [
        ("gang.team-a.svc.cluster.local", "gang.red--team-a.svc.cluster.local"),
        ("team-a.svc.cluster.local", "red--team-a.svc.cluster.local"),
        ("team-a.svc", "red--team-a.svc"),
        ("gang.team-a.svc.cluster.local.", "gang.red--team-a.svc.cluster.local."),
        ("svc.cluster.local", "svc.cluster.local"),
        ("team-b.svc.cluster.local", "team-b.svc.cluster.local"),
        ("not-team-a.svc.cluster.local", "not-team-a.svc.cluster.local"),
        ("team-a.example.com", "team-a.example.com"),
        (".", "."),
    ],
)
def test_only_the_tenant_namespace_before_svc_is_replaced(domain: str, below: str) -> None:
    assert rewrite_domain(domain, namespace="team-a", below="red--team-a") == below


def test_the_rest_of_dns_config_is_kept() -> None:
    config = {"nameservers": ["10.0.0.2"], "options": [{"name": "ndots", "value": "2"}]}
    below = spec_below(dnsConfig={**config, "searches": ["gang.team-a.svc.cluster.local"]})
    assert below["dnsConfig"] == {**config, "searches": ["gang.red--team-a.svc.cluster.local"]}
