"""Claims that ECI mounts itself: exactly what their CSI driver would mount, or nothing."""

from typing import Any

import msgspec
import pytest

from federation.backends.translation.rules import Refused
from federation.claims.objects import CSISource
from federation.fluid.mounts import mounted

NAS, NFS = "nasplugin.csi.alibabacloud.com", "nfs.csi.k8s.io"
OSS = "ossplugin.csi.alibabacloud.com"


def volume(driver: str, **attributes: str) -> Any:
    source = msgspec.convert({"driver": driver, "volumeAttributes": attributes}, CSISource)
    key = {"akId": b"me", "akSecret": b"hush"}
    found: Any = mounted("v", source, secret=key, read_only=False)
    return found


@pytest.mark.parametrize(
    ("share", "folder", "path"),
    [
        ("/exports", "team-a/pvc-1", "/exports/team-a/pvc-1"),
        ("/exports/", "/pvc-1/", "/exports/pvc-1"),
        ("/", "pvc-1", "/pvc-1"),
        ("/exports", "", "/exports"),
    ],
)
@pytest.mark.parametrize("name", ["subDir", "subdir"])
def test_of_a_share_only_the_volumes_folder_is_mounted(
    share: str, folder: str, path: str, name: str
) -> None:
    found = volume(NFS, server="nas", share=share, **{name: folder})
    assert found["NFSVolume"] == {"Server": "nas", "Path": path, "ReadOnly": False}


def test_options_of_a_file_system_may_say_that_it_is_for_reading() -> None:
    found = volume(NAS, server="nas", path="/a", vers="3", options="nolock,ro")
    assert found["NFSVolume"]["ReadOnly"]


@pytest.mark.parametrize(
    ("driver", "attributes", "words"),
    [
        (NFS, {"server": "nas", "share": "/a", "subDir": "${pvc.metadata.name}"}, "put in"),
        (NFS, {"server": "nas", "share": "/a", "Share": "/b"}, "twice"),
        (NFS, {"server": "nas", "share": "/a", "other": "x"}, '"other"'),
        (NFS, {"server": "nas", "share": "a"}, "does not say where"),
        (NAS, {"server": "nas", "path": "/a", "mountType": "losetup"}, '"mounttype"'),
        (NAS, {"containerNetworkFileSystem": "x", "path": "/a"}, '"containernetworkfilesystem"'),
        (NAS, {"server": "nas:/all", "path": "/a"}, "does not say where"),
        (OSS, {"bucket": "b", "url": "u", "fuseType": "ossfs2"}, '"fusetype"'),
        (OSS, {"bucket": "b", "url": "u", "roleName": "r"}, '"rolename"'),
    ],
)
def test_what_eci_cannot_be_told_is_not_left_out(
    driver: str, attributes: dict[str, str], words: str
) -> None:
    with pytest.raises(Refused) as refused:
        volume(driver, **attributes)
    assert words in refused.value.text
