import pytest

from federation.backends.eci import errors
from federation.backends.eci.parameters import flatten
from tests.eci.connecting import KEYS, connected, make_group
from tests.eci.refusal import Refusal
from tests.eci.schema import check_parameters
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock


@pytest.mark.parametrize(
    "name",
    [
        "Containers.1.Name",
        "Container.1.VolumeMount.1.Path",
        "Container.Name",
        "Container.01.Name",
        "Container.1.Command",
        "Container.1.StartupProbe.PeriodSeconds",
        "InitContainer.1.ReadinessProbe.PeriodSeconds",
    ],
)
def test_a_parameter_that_the_sdk_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="not supported"):
        check_parameters("CreateContainerGroup", {name: "1"})


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("Container.1.Cpu", "1 core", "0.25"),
        ("Container.1.Gpu", "1.5", "1"),
        ("DryRun", "yes", "True"),
        ("ActiveDeadlineSeconds", "", "60"),
        ("Volume.1.ConfigFileVolume.DefaultMode", "rw-r--r--", "0644"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, wrong: str, right: str) -> None:
    check_parameters("CreateContainerGroup", {name: right})
    with pytest.raises(Refusal, match="type"):
        check_parameters("CreateContainerGroup", {name: wrong})


def test_what_the_client_sends_for_a_group_is_known() -> None:
    check_parameters("CreateContainerGroup", flatten(make_group()))


async def test_an_unknown_parameter_is_a_wrong_one_for_the_client() -> None:
    async with Emulator(keys=KEYS, clock=SteppedClock()) as emulator, connected(emulator) as api:
        with pytest.raises(errors.InvalidParameter, match="Nmae"):
            await api.create(make_group(Nmae="x"), token="t")
