"""What is made below for one claim: golden files, which an API server checks too (tests/e2e)."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.backends.kubernetes.translate.names import Owner, object_name_below
from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.fluid import build
from federation.fluid.names import dataset_name, secret_name, volume_name
from tests.builders import OWNER
from tests.unit.federation.fluid.builders import make_claim, make_volume, make_wish
from vnode.backend import ReferenceKind
from vnode.kube.types import UID, ObjectMeta, Secret, encode_base64

GOLDEN = Path(__file__).parent / "golden"
SECRET = Secret(
    metadata=ObjectMeta(name="s", namespace="team-a", uid=UID("s-1"), resource_version="7"),
    data={"token": encode_base64("x")},
    type="kubernetes.io/basic-auth",
)
REFERS = {"nodePublishSecretRef": {"name": "s", "namespace": "team-a"}}


def built() -> dict[str, Any]:
    wish = make_wish()
    secret = make_wish(volume=make_volume(csi={**REFERS, "fsType": "starfs", "readOnly": True}))
    ack = make_wish(dialect=FluidDialect.ACK)
    return {
        "claim": build.claim_below(wish),
        "claim-ack": build.claim_below(ack),
        "volume": build.volume_below(wish, UID("below-1")),
        "volume-secret": build.volume_below(secret, UID("below-1")),
        "secret": build.secret_below(secret, SECRET),
        "dataset": build.dataset(wish),
        "runtime": build.thin_runtime(wish),
        "load": build.data_load(wish, "/images, /labels"),
    }


@pytest.mark.parametrize("name", list(built()))
def test_an_object_is_as_its_golden_file(name: str) -> None:
    assert built()[name] == yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())


def test_a_runtime_says_nothing_but_its_profile() -> None:
    # Its image and command run privileged: they are the platform's.
    assert build.thin_runtime(make_wish())["spec"] == {"profileName": "starfs-profile"}


def test_a_dataset_has_no_options() -> None:
    # One of them mounts any folder of the node (pkg/common, DatasetOptionFluidFuseHostVolume).
    spec: Any = build.dataset(make_wish())["spec"]
    assert [set(mount) for mount in spec["mounts"]] == [{"mountPoint", "name"}]


def test_other_data_or_another_profile_are_another_wish() -> None:
    plain = make_wish()
    others = [
        make_wish(profile="other"),
        make_wish(dialect=FluidDialect.ACK),
        make_wish(volume=make_volume(csi={"volumeHandle": "team-a/other"})),
        make_wish(volume=make_volume(mountOptions=["ro"])),
    ]
    assert plain.digest == make_wish().digest
    assert len({wish.digest for wish in [plain, *others]}) == 1 + len(others)


def test_names_differ_by_claim_tenant_cluster_and_namespace_and_show_none() -> None:
    first, again = UID("c-1"), UID("c-2")
    assert dataset_name(first) != dataset_name(again)
    other = Owner(tenant=OWNER.tenant, cluster_uid="another")
    names = {
        volume_name(first, owner=OWNER, below="red--team-a"),
        volume_name(again, owner=OWNER, below="red--team-a"),
        volume_name(first, owner=OWNER, below="red--team-b"),
        volume_name(first, owner=other, below="red--team-a"),
    }
    assert len(names) == 4
    assert not any("red" in name or "team" in name for name in names)


def test_no_pod_of_the_tenant_can_name_the_copied_secret() -> None:
    name = secret_name(UID("c-1"))
    assert object_name_below(ReferenceKind.SECRET, name) != name


def test_a_load_of_paths_that_are_none_is_one_of_all() -> None:
    spec: Any = build.data_load(make_wish(claim=make_claim()), "true")["spec"]
    assert spec["target"] == [{"path": "/"}]


def test_a_load_of_paths_leaves_out_what_climbs_and_what_a_shell_reads() -> None:
    asked = "/a, /../b, /c/.., /$(id), /d;e, /f g"
    spec: Any = build.data_load(make_wish(claim=make_claim()), asked)["spec"]
    assert spec["target"] == [{"path": "/a"}]
