"""The documented limits of a create, and what it buys."""

import base64
from typing import Any

import pytest

from tests.eci.catalog import bought
from tests.eci.connecting import make_group
from tests.eci.creation import check_command, check_create
from tests.eci.refusal import Refusal


def having(**more: Any) -> dict[str, Any]:
    group = make_group()
    group["Container"][0] |= more
    return group


def mounting(**volume: Any) -> dict[str, Any]:
    return make_group(Volume=[{"Name": "v", **volume}])


def files(*sizes: int, **more: Any) -> dict[str, Any]:
    made = [
        {"Path": f"f{n}", "Content": base64.b64encode(b"x" * size).decode()}
        for n, size in enumerate(sizes)
    ]
    return mounting(Type="ConfigFileVolume", ConfigFileVolume={"ConfigFileToPath": made, **more})


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (make_group("Upper"), "InvalidParameter.ContainerGroupName"),
        (make_group("a.b"), "InvalidParameter.ContainerGroupName"),
        (make_group("a"), "InvalidParameter.ContainerGroupName"),
        (make_group("a-"), "InvalidParameter.ContainerGroupName"),
        (make_group("a" * 129), "InvalidParameter.ContainerGroupName"),
        (make_group(Container=[]), "MissingParameter"),
        (make_group(ClientToken="x" * 65), "InvalidParameter.ClientToken"),
        (make_group(DnsPolicy="ClusterFirst"), "InvalidParameter.DnsPolicy"),
        (make_group(RestartPolicy="Sometimes"), "InvalidParameter.RestartPolicy"),
        (make_group(SpotStrategy="SpotWithPriceLimit"), "MissingParameter"),
        (make_group(Tag=[{"Key": "acs:mine", "Value": ""}]), "InvalidParameter.Tag"),
        (make_group(Tag=[{"Key": "a", "Value": "http://b"}]), "InvalidParameter.Tag"),
        (make_group(Tag=[{"Key": "a"}, {"Key": "a"}]), "InvalidParameter.Tag"),
        (make_group(Tag=[{"Key": f"k{n}"} for n in range(21)]), "InvalidParameter.Tag"),
        (having(Name=""), "MissingParameter"),
        (having(Image=""), "MissingParameter"),
        (having(Arg=["a"] * 11), "InvalidParameter.LengthExceeded"),
        (having(Command=["a"] * 21), "InvalidParameter.LengthExceeded"),
        (having(Command=["a" * 257]), "InvalidParameter.LengthExceeded"),
        (having(EnvironmentVar=[{"Key": "1A"}]), "InvalidParameter.EnvironmentVar.Key"),
        (having(EnvironmentVar=[{"Key": "a-b"}]), "InvalidParameter.EnvironmentVar.Key"),
        (
            having(EnvironmentVar=[{"Key": "A", "Value": "x" * 257}]),
            "InvalidParameter.LengthExceeded",
        ),
        (
            having(EnvironmentVar=[{"Key": "A", "FieldRef": {"FieldPath": "metadata.name"}}]),
            "InvalidParameter.FieldPath",
        ),
        (
            having(EnvironmentVar=[{"Key": "ECI_CONTAINER_EXIT_PRIORITY", "Value": "1001"}]),
            "InvalidParameter.EnvironmentVar.Value",
        ),
        (having(Port=[{"Port": "10250"}]), "InvalidParameter.Port"),
        (having(ReadinessProbe={"PeriodSeconds": "1"}), "InvalidParameter.ReadinessProbe"),
        (
            having(ReadinessProbe={"TcpSocket": {"Port": "1"}, "SuccessThreshold": "2"}),
            "InvalidParameter.ReadinessProbe",
        ),
        (
            having(SecurityContext={"Capability": {"Add": ["SYS_ADMIN"]}}),
            "InvalidParameter.SecurityContext.Capability",
        ),
        (having(VolumeMount=[{"Name": "v", "MountPath": "/d"}]), "InvalidParameter.VolumeMount"),
        (mounting(), "MissingParameter"),
        (mounting(Type="HostPathVolume"), "FeatureAccessRestricted"),
        (mounting(Type="CSIVolume"), "InvalidParameter.Volume.Type"),
        (mounting(Type="EmptyDirVolume", NFSVolume={"Path": "/"}), "InvalidParameter.Volume.Type"),
        (
            mounting(Type="FlexVolume", FlexVolume={"Driver": "x"}),
            "InvalidParameter.FlexVolume.Driver",
        ),
        (files((32 << 10) + 1), "InvalidParameter.LengthExceeded"),
        (files(31 << 10, 30 << 10), "InvalidParameter.LengthExceeded"),
        (files(1, DefaultMode="420"), None),
        (files(1, DefaultMode="0999"), "InvalidParameter.ConfigFileVolume.Mode"),
        (
            mounting(
                Type="ConfigFileVolume",
                ConfigFileVolume={"ConfigFileToPath": [{"Path": "../x", "Content": ""}]},
            ),
            "InvalidParameter.ConfigFileToPath.Path",
        ),
    ],
)
def test_what_the_documentation_forbids_is_refused(wrong: dict[str, Any], code: str | None) -> None:
    if code is None:
        check_create(wrong)
        return
    with pytest.raises(Refusal) as raised:
        check_create(wrong)

    assert raised.value.code == code


@pytest.mark.parametrize(
    "right",
    [
        make_group(),
        having(VolumeMount=[]),
        files(32 << 10, 28 << 10),
        having(Command=["a" * 256] * 20, Arg=["a"] * 10),
        having(SecurityContextPrivileged="true"),
        mounting(Type="NFSVolume", NFSVolume={"Server": "nas", "Path": "/"}),
    ],
)
def test_what_the_documentation_allows_is_taken(right: dict[str, Any]) -> None:
    check_create(right)


def test_an_account_may_be_without_privileged_containers() -> None:
    with pytest.raises(Refusal, match="restricted"):
        check_create(having(SecurityContextPrivileged="true"), privileged=False)


@pytest.mark.parametrize("command", ["ls", "[]", '["a", 1]', '{"a": 1}'])
def test_a_command_is_a_list_of_strings_in_json(command: str) -> None:
    with pytest.raises(Refusal):
        check_command(command)


@pytest.mark.parametrize(
    ("cpu", "memory", "gets"),
    [(7, 13, (8, 16)), (0.1, 0.1, (0.25, 0.5)), (1, 1, (1, 2)), (2, 1, (2, 1)), (0, 0, (2, 4))],
)
def test_sizes_are_rounded_up(cpu: float, memory: float, gets: tuple[float, float]) -> None:
    [size] = bought(having(Cpu=cpu, Memory=memory))

    assert (size.cpu, size.memory) == gets


def test_a_container_can_be_left_out_of_the_size() -> None:
    group = having(Cpu=2, Memory=4)
    ignored = {"EnvironmentVar": [{"Key": "__ECI_RESOURCE_IGNORE__", "Value": "TRUE"}]}
    group["Container"].append({"Name": "fuse", "Cpu": 2, "Memory": 4, **ignored})

    assert bought(group)[0].cpu == 2


@pytest.mark.parametrize(
    "wrong",
    [
        having(Cpu=65, Memory=1),
        having(Gpu=1),
        {**having(Cpu=2, Memory=4), "Cpu": "1", "Memory": "2"},
        {**having(Gpu=2), "InstanceType": "ecs.gn6i-c4g1.xlarge"},
        make_group(InstanceType="ecs.nothing"),
        make_group(InstanceType=",".join(["2-4Gi"] * 6)),
    ],
)
def test_what_nothing_fits_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        bought(wrong)


def test_several_sizes_are_tried_in_order() -> None:
    found = bought(make_group(InstanceType="2-4Gi,ecs.c6.xlarge"))

    assert [(one.cpu, one.memory, one.type) for one in found] == [
        (2, 4, ""),
        (4, 8, "ecs.c6.xlarge"),
    ]
