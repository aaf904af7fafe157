"""Key pairs for tests of serving certificates."""

import datetime

import trustme

from vnode.kube.types import NodeName
from vnode.node.serving.key_pair import KeyPair

HOST = "127.0.0.1"
NODE = NodeName("virtual-1")
NOW = datetime.datetime.now(tz=datetime.UTC).timestamp()
DAY = 86400.0


def issue(ca: trustme.CA, name: str = HOST) -> KeyPair:
    leaf = ca.issue_cert(name)
    return KeyPair(
        certificate=b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
        key=leaf.private_key_pem.bytes(),
    )
