import base64
import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from tests.unit.node.serving.signer import DAY, Authority
from vnode.kube.decode import decode
from vnode.kube.types import JSON, NodeName
from vnode.kube.types import encode as to_json
from vnode.node.serving.key_pair import CertificateError, KeyPair, self_signed
from vnode.node.serving.request import (
    Answer,
    Outcome,
    SigningRequest,
    answer_in,
    check,
    covers,
    is_unanswered,
    new_request,
)

NODE = NodeName("vnode-gpu-a")
NOW = datetime.datetime(2027, 1, 15, 8, tzinfo=datetime.UTC).timestamp()
ADDRESSES = ("10.0.0.1", "fd00::1", "agent.example")


def found(*, name: str = "x", conditions: JSON = None, certificate: bytes = b"") -> SigningRequest:
    status: dict[str, JSON] = {"conditions": conditions}
    if certificate:
        status["certificate"] = base64.b64encode(certificate).decode()
    return decode(to_json({"metadata": {"name": name}, "status": status}), SigningRequest)


def condition(kind: str, reason: str = "", message: str = "") -> JSON:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


class TestAsking:
    def test_a_request_has_the_shape_that_the_signer_demands(self) -> None:
        asked = new_request(NODE, ADDRESSES)
        request = x509.load_pem_x509_csr(asked.request)
        assert request.is_signature_valid
        assert request.subject.rfc4514_string() == "CN=system:node:vnode-gpu-a,O=system:nodes"
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["agent.example"]
        assert names.get_values_for_type(x509.IPAddress) == [
            ipaddress.ip_address("10.0.0.1"),
            ipaddress.ip_address("fd00::1"),
        ]

    def test_the_object_says_signer_and_usages_of_a_kubelet_and_can_be_found_by_label(
        self,
    ) -> None:
        asked = new_request(NODE, ADDRESSES)
        assert asked.body() == {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {
                "name": asked.name,
                "labels": {"app.kubernetes.io/managed-by": "vnode"},
            },
            "spec": {
                "request": base64.b64encode(asked.request).decode(),
                "signerName": "kubernetes.io/kubelet-serving",
                "usages": ["digital signature", "server auth"],
            },
        }

    def test_every_request_has_a_key_and_a_name_of_its_own(self) -> None:
        first, second = new_request(NODE, ADDRESSES), new_request(NODE, ADDRESSES)
        assert first.key != second.key
        assert first.name != second.name
        assert first.name.startswith("vnode-gpu-a-")

    def test_the_key_is_in_no_repr_and_not_in_the_object(self) -> None:
        asked = new_request(NODE, ADDRESSES)
        assert "PRIVATE" not in repr(asked)
        assert asked.key not in to_json(asked.body())
        assert base64.b64encode(asked.key) not in to_json(asked.body())

    def test_a_name_that_no_certificate_can_hold_is_refused_and_the_longest_is_not(self) -> None:
        assert new_request(NodeName("n" * 52), ADDRESSES).name.startswith("n" * 52)
        with pytest.raises(CertificateError, match="52 characters"):
            new_request(NodeName("n" * 53), ADDRESSES)

    def test_an_object_of_the_same_name_is_the_same_only_with_the_same_request(self) -> None:
        asked, other = new_request(NODE, ADDRESSES), new_request(NODE, ADDRESSES)
        same = decode(to_json(asked.body()), SigningRequest)
        assert asked.is_same(same)
        assert not other.is_same(same)


class TestAnswers:
    @pytest.mark.parametrize("conditions", [None, [], [condition("Approved")]])
    def test_without_a_certificate_one_waits(self, conditions: JSON) -> None:
        assert answer_in(found(conditions=conditions)) == Answer(Outcome.WAITING)

    def test_a_certificate_counts_only_when_it_is_approved(self) -> None:
        assert answer_in(found(certificate=b"PEM")).outcome is Outcome.WAITING
        answer = answer_in(found(conditions=[condition("Approved")], certificate=b"PEM"))
        assert answer == Answer(Outcome.ISSUED, certificate=b"PEM")

    @pytest.mark.parametrize("kind", ["Denied", "Failed"])
    def test_denied_and_failed_count_more_than_approved(self, kind: str) -> None:
        conditions = [condition("Approved"), condition(kind, "Policy", "not you")]
        answer = answer_in(found(conditions=conditions, certificate=b"PEM"))
        assert answer == Answer(Outcome.REFUSED, why=f"{kind} (Policy: not you)")

    def test_a_refusal_without_words_is_told_as_it_is(self) -> None:
        assert answer_in(found(conditions=[condition("Denied")])).why == "Denied"

    @pytest.mark.parametrize(
        ("name", "counts"),
        [
            ("vnode-gpu-a-0123456789", True),
            ("vnode-gpu-0123456789", False),
            ("vnode-gpu-a-b-0123456789", False),
            ("vnode-gpu-a-training", False),
            ("csr-x7k2p", False),
        ],
    )
    def test_unanswered_are_those_of_exactly_this_node(self, name: str, counts: bool) -> None:
        assert is_unanswered(found(name=name), node=NODE) is counts

    def test_a_decided_request_is_not_unanswered(self) -> None:
        decided = found(name="vnode-gpu-a-0123456789", conditions=[condition("Approved")])
        assert not is_unanswered(decided, node=NODE)


class TestChecks:
    ca = Authority()
    asked = new_request(NODE, ADDRESSES)

    def pair(self, certificate: bytes) -> KeyPair:
        return KeyPair(certificate=certificate, key=self.asked.key)

    def test_what_was_asked_for_is_accepted(self) -> None:
        issued = self.ca.issue(self.asked.request, begin=NOW - 300, end=NOW + DAY)
        check(self.pair(issued), addresses=ADDRESSES, now=NOW)

    def test_a_certificate_for_any_use_is_accepted(self) -> None:
        issued = self.ca.issue(self.asked.request, begin=NOW, end=NOW + DAY, usages=())
        check(self.pair(issued), addresses=ADDRESSES, now=NOW)

    def test_another_keys_certificate_is_refused(self) -> None:
        other = new_request(NODE, ADDRESSES).request
        issued = self.ca.issue(other, begin=NOW, end=NOW + DAY)
        with pytest.raises(CertificateError, match="another key"):
            check(self.pair(issued), addresses=ADDRESSES, now=NOW)

    @pytest.mark.parametrize("begin", [NOW - DAY, NOW + DAY / 2], ids=["over", "not yet"])
    def test_a_certificate_of_another_time_is_refused(self, begin: float) -> None:
        issued = self.ca.issue(self.asked.request, begin=begin, end=begin + DAY / 2)
        with pytest.raises(CertificateError, match="which is not now"):
            check(self.pair(issued), addresses=ADDRESSES, now=NOW)

    def test_a_certificate_for_clients_only_is_refused(self) -> None:
        issued = self.ca.issue(
            self.asked.request,
            begin=NOW,
            end=NOW + DAY,
            usages=[ExtendedKeyUsageOID.CLIENT_AUTH],
        )
        with pytest.raises(CertificateError, match="not for servers"):
            check(self.pair(issued), addresses=ADDRESSES, now=NOW)

    def test_a_certificate_without_one_of_the_addresses_is_refused(self) -> None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("10.0.0.1"))])
        issued = self.ca.issue(self.asked.request, begin=NOW, end=NOW + DAY, names=names)
        with pytest.raises(CertificateError, match="does not hold"):
            check(self.pair(issued), addresses=ADDRESSES, now=NOW)

    def test_a_certificate_with_a_part_that_is_junk_is_refused(self) -> None:
        junk = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"junk")
        issued = self.ca.issue(self.asked.request, begin=NOW, end=NOW + DAY, names=junk)
        with pytest.raises(CertificateError, match="cannot be read"):
            check(self.pair(issued), addresses=ADDRESSES, now=NOW)

    def test_a_certificate_with_a_key_of_an_unknown_kind_is_refused(self) -> None:
        issued = self.ca.issue(self.asked.request, begin=NOW, end=NOW + DAY)
        known, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f")
        odd = ssl.PEM_cert_to_DER_cert(issued.decode()).replace(known, unknown)
        with pytest.raises(CertificateError, match="cannot be read"):
            check(self.pair(ssl.DER_cert_to_PEM_cert(odd).encode()), addresses=ADDRESSES, now=NOW)

    @pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nx\n"])
    def test_what_is_no_certificate_is_refused(self, text: bytes) -> None:
        with pytest.raises(CertificateError, match="cannot be read"):
            check(self.pair(text), addresses=ADDRESSES, now=NOW)

    def test_addresses_are_compared_in_their_normal_form(self) -> None:
        pair = self_signed(node=NODE, addresses=["fd00:0:0::1"], now=NOW)
        assert covers(pair, ["FD00::0001"])
        assert not covers(pair, ["fd00::2"])
