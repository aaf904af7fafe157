"""Pod addresses for isolated networks: one unroutable address per pod, kept in the pod's status.

Pod CIDRs of two compute clusters may be the same, so a copied podIP would send Service traffic to a
stranger's pod (DESIGN 6, Network). The pool is memory only: `learn` rebuilds it from statuses.
"""

import hashlib
from ipaddress import IPv4Network

from vnode.kube.types import UID


class AddressPool:
    """Hands out one address per tenant pod UID from an IPv4 network."""

    def __init__(self, network: str, *, part: int = 0, parts: int = 1) -> None:
        """Use one of so many equal parts of the network: replicas do not ask each other."""
        self._network = IPv4Network(network)
        self._size = (self._network.num_addresses - 2) // parts
        self._first = 1 + part * self._size
        if self._size < 1:
            raise ValueError(f"{network}: has no room for pod addresses of {parts} clusters")
        self._by_uid: dict[UID, str] = {}
        self._taken: dict[str, UID] = {}

    def learn(self, uid: UID, address: str) -> None:
        """Remember an address that a pod's status already shows."""
        if self._taken.setdefault(address, uid) == uid:
            self._by_uid[uid] = address

    def allocate(self, uid: UID) -> str:
        """Return the pod's address, the same on every call.

        Raises:
            LookupError: all addresses are in use.
        """
        if (known := self._by_uid.get(uid)) is not None:
            return known
        start = int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=8).digest())
        for step in range(self._size):
            address = str(self._network[self._first + (start + step) % self._size])
            if address not in self._taken:
                self.learn(uid, address)
                return address
        raise LookupError(f"all {self._size} pod addresses of {self._network} are in use")

    def release(self, uid: UID) -> None:
        """Give the address of a removed pod back."""
        if (address := self._by_uid.pop(uid, None)) is not None:
            self._taken.pop(address, None)

    def __len__(self) -> int:
        return len(self._by_uid)
