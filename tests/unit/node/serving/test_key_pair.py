import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.node.serving.builders import DAY, NODE, NOW
from vnode.kube.types import NodeName
from vnode.node.serving.key_pair import self_signed


def test_a_self_signed_certificate_has_the_shape_of_a_kubelets() -> None:
    pair = self_signed(node=NODE, addresses=["10.0.0.1", "fd00::1", "agent.example"], now=NOW)
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    assert leaf.subject.rfc4514_string() == "CN=system:node:virtual-1,O=system:nodes"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["virtual-1", "agent.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("fd00::1"),
    ]
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    begin, end = pair.lifetime()
    assert begin < NOW
    assert end == pytest.approx(NOW + 365 * DAY, abs=1)


def test_a_long_node_name_fits() -> None:
    pair = self_signed(node=NodeName("n" * 63 + ".x"), addresses=[], now=NOW)
    assert pair.lifetime()[1] > NOW


def test_a_key_never_appears_in_a_repr() -> None:
    assert "PRIVATE" not in repr(self_signed(node=NODE, addresses=[], now=NOW))
