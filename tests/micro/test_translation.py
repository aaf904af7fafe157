"""From tenant pods to the bytes of their copies, and from copies to what is seen of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from federation.backends.kubernetes.observe import observed_pod
from federation.backends.kubernetes.translate.names import NamespaceMapping
from federation.backends.kubernetes.translate.pod import translate
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.builders import OWNER, make_request
from tests.micro import material

if TYPE_CHECKING:
    from tests.micro.conftest import Compare

_NAMESPACES = NamespaceMapping(OWNER.tenant)
_PODS = 20


def test_20_pods_are_translated(compare: Compare) -> None:
    requests = [make_request(material.tenant_pod(n)) for n in range(_PODS)]
    policy = TranslationPolicy()

    def work() -> None:
        for request in requests:
            made = translate(request, owner=OWNER, namespaces=_NAMESPACES, policy=policy)
            msgspec.json.encode(made)

    compare(work, 1.4)


def test_100_copies_are_observed(compare: Compare) -> None:
    copies = [material.copy_of(material.tenant_pod(n), n) for n in range(100)]

    def work() -> None:
        for copy in copies:
            assert observed_pod(copy, owner=OWNER, namespaces=_NAMESPACES) is not None

    compare(work, 1.1)
