"""Claims whose file systems ECI mounts itself: NFS, and buckets of OSS.

In: a claim's volume, as its CSI driver reads it, and what is in its Secret. Out: the Volume
parameter, nothing where ECI does not know the driver, or why not. An attribute that the driver
reads and ECI cannot be told is refused: without it other files would be mounted, such as the whole
export instead of `subDir`. Pure.

Attributes, which drivers read in any case of letters: csi-driver-nfs docs/driver-parameters.md,
alibaba-cloud-csi-driver docs/nas.md and docs/oss.md.
"""

import json
from collections.abc import Collection, Mapping

from federation.backends.eci.parameters import Parameters
from federation.backends.eci.translate.fields import NOT_SUPPORTED
from federation.backends.translation.rules import Refused
from federation.claims.objects import CSISource
from federation.fluid.rules import travelling

__all__ = ["BUCKETS", "mounted", "refused"]

_NAS, _NFS = "nasplugin.csi.alibabacloud.com", "nfs.csi.k8s.io"
"""CSI drivers of network file systems."""
BUCKETS = "ossplugin.csi.alibabacloud.com"
"""The CSI driver of buckets, which a FlexVolume of the same options mounts."""
_IDLE: Mapping[str, frozenset[str]] = {
    _NAS: frozenset({"vers", "mode", "modetype", "volumeas"}),
    _NFS: frozenset({"mountpermissions", "ondelete"}),
    BUCKETS: frozenset(),
}
"""Attributes, by driver, that do not change what is mounted."""
_OPTIONS = ("bucket", "url", "path", "otherOpts")
_KEY = ("akId", "akSecret")


def mounted(
    name: str, csi: CSISource | None, *, secret: Mapping[str, bytes] | None, read_only: bool
) -> Parameters | None:
    """The volume under a name; None: ECI cannot mount it.

    Raises:
        Refused: it does not say where the files are, or in a way that ECI does not know.
    """
    if csi is None or csi.driver not in _IDLE:
        return None
    said = _attributes(csi)
    if csi.driver == BUCKETS:
        return _bucket(name, said, secret=secret or {})
    if csi.driver == _NAS:
        path = said.pop("path", "")
        read_only |= "ro" in said.pop("options", "").split(",")
    else:
        path = _below(said.pop("share", ""), said.pop("subdir", ""))
    server = said.pop("server", "")
    _require_all_said(said)
    if not server or ":" in server or not path.startswith("/"):
        raise refused("is of a network file system, but does not say where: server and path")
    nfs: Parameters = {"Server": server, "Path": path, "ReadOnly": read_only}
    return {"Name": name, "Type": "NFSVolume", "NFSVolume": nfs}


def refused(why: str) -> Refused:
    """Of a claim whose files do not come; `why` goes on after "it"."""
    return Refused(why, waits_as=NOT_SUPPORTED)


def _attributes(csi: CSISource) -> dict[str, str]:
    """What its driver reads, by names in small letters."""
    found = dict[str, str]()
    for key, value in travelling(csi.volume_attributes).items():
        small = key.lower()
        if small in found:
            raise refused(f'has volumeAttribute "{key}" twice')
        if small not in _IDLE[csi.driver]:
            found[small] = value
    return found


def _require_all_said(left: Collection[str]) -> None:
    for key in sorted(left):
        raise refused(f'has volumeAttribute "{key}", which ECI cannot be told')


def _below(share: str, folder: str) -> str:
    """The folder of a share; its driver would put names into `${...}`."""
    if "$" in share or "$" in folder:
        raise refused("is of a network file system, and its path has names to be put in")
    return f"{share.rstrip('/')}/{folder.strip('/')}" if folder.strip("/") else share


def _bucket(name: str, said: dict[str, str], *, secret: Mapping[str, bytes]) -> Parameters:
    """Its key comes from the volume's Secret."""
    options = {key: said.pop(key.lower(), "") for key in _OPTIONS}
    _require_all_said(said)
    if not options["bucket"] or not options["url"]:
        raise refused("is of a bucket, but does not say where: bucket and url")
    for key in _KEY:
        value = secret.get(key, b"")
        if not value:
            raise refused(f'is of a bucket, and has no Secret with "{key}" (nodePublishSecretRef)')
        options[key] = value.decode(errors="replace")
    said_of_it = json.dumps({key: value for key, value in options.items() if value})
    flex: Parameters = {"Driver": "alicloud/oss", "Options": said_of_it}
    return {"Name": name, "Type": "FlexVolume", "FlexVolume": flex}
