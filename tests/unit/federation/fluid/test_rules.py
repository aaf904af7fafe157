"""Which volumes of a tenant may be copied: what it made up is refused."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.claims.objects import Volume
from federation.fluid.rules import as_regex, fits, refusal, travelling
from tests.unit.federation.fluid.builders import ALLOWED, make_claim, make_volume


def why(volume: Volume) -> str:
    return refusal(make_claim(), volume, [ALLOWED])


def test_a_volume_that_the_platform_allows_may_be_copied() -> None:
    assert why(make_volume()) == ""
    assert why(make_volume(mountOptions=["ro"])) == ""


@pytest.mark.parametrize(
    ("csi", "text"),
    [
        ({"driver": "nas.csi.example.com"}, "CSI driver"),
        ({"volumeHandle": "team-b/training"}, "volumeHandle"),
        ({"volumeHandle": "team-a/../team-b/training"}, "volumeHandle"),
        ({"volumeAttributes": {"path": "/team-b"}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": "/team-a/../team-b"}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": "/team-a/.."}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": "/team-a\\..\\team-b"}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": "/team-a/x\n/team-b"}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"cluster": "star-1x"}}, 'volumeAttribute "cluster"'),
        ({"volumeAttributes": {"server": "star-1"}}, 'volumeAttribute "server"'),
        ({"volumeAttributes": {"cluster": "star-1"}}, 'lacks volumeAttribute "path"'),
        ({"volumeAttributes": {}}, 'lacks volumeAttribute "cluster"'),
        ({"volumeAttributes": {"path": "/team-a/$(id)"}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": "/team-a/`id`"}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": '/team-a/";id'}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": "/team-a/x,subdir=/team-b"}}, 'volumeAttribute "path"'),
        ({"volumeAttributes": {"path": "/team-a/x -o suid"}}, 'volumeAttribute "path"'),
        ({"nodePublishSecretRef": {"name": "s", "namespace": "team-b"}}, "outside"),
        ({"nodePublishSecretRef": {"name": "s"}}, "outside"),
    ],
)
def test_data_of_others_cannot_be_reached_by_what_a_tenant_writes(csi: Any, text: str) -> None:
    assert text in why(make_volume(csi=csi))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"claimRef": None}, "not bound to this claim"),
        ({"claimRef": {"namespace": "team-b", "name": "data", "uid": "c-2"}}, "not bound to this"),
        ({"csi": None, "hostPath": {"path": "/"}}, "no CSI volume"),
        ({"csi": None, "local": {"path": "/"}}, "no CSI volume"),
        ({"csi": None, "nfs": {"server": "nas", "path": "/"}}, "no CSI volume"),
        ({"volumeMode": "Block"}, "block device"),
        ({"mountOptions": ["ro", "subdir=/team-b"]}, "mountOptions"),
    ],
)
def test_other_volumes_are_refused(spec: Any, text: str) -> None:
    volume = make_volume(**spec) if "csi" not in spec else make_other(spec)
    assert text in why(volume)


def make_other(spec: Any) -> Volume:
    plain = make_volume()
    return Volume(metadata=plain.metadata, spec=type(plain.spec)(claim_ref=plain.spec.claim_ref))


def test_a_secret_of_the_claims_own_namespace_may_be_named() -> None:
    assert (
        why(make_volume(csi={"nodePublishSecretRef": {"name": "s", "namespace": "team-a"}})) == ""
    )


def test_nothing_may_be_copied_where_nothing_is_allowed() -> None:
    assert "CSI driver" in refusal(make_claim(), make_volume(), [])


def test_any_of_several_rules_of_a_driver_may_allow_a_volume() -> None:
    other = replace(ALLOWED, volume_handles=("shared/*",))
    volume = make_volume(csi={"volumeHandle": "shared/models"})
    assert refusal(make_claim(), volume, [ALLOWED, other]) == ""
    assert refusal(make_claim(), make_volume(), [other, ALLOWED]) == ""


def test_what_a_provisioner_wrote_of_its_own_cluster_is_left_out() -> None:
    attributes = {
        "storage.kubernetes.io/csiProvisionerIdentity": "1-star",
        "csi.storage.k8s.io/pvc/namespace": "team-a",
        "path": "/team-a",
        "cluster": "star-1",
    }
    assert travelling(attributes) == {"path": "/team-a", "cluster": "star-1"}
    assert why(make_volume(csi={"volumeAttributes": attributes})) == ""


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_pattern_without_star_allows_itself_alone(pattern: str, other: str) -> None:
    pattern = pattern.replace("*", "")
    assert fits(other, [pattern]) <= (other == pattern)


@given(st.text(alphabet="ab./\\*", max_size=12), st.text(alphabet="ab./\\", max_size=12))
def test_nothing_that_fits_climbs_up(pattern: str, value: str) -> None:
    if fits(value, [pattern]):
        assert ".." not in re.split(r"[/\\]", value)


def test_a_pattern_is_one_regular_expression_for_python_and_re2() -> None:
    # RE2 knows no lookaround and no possessive quantifiers; escapes of punctuation it does.
    star = r"""[^\x00-\x20\x7f,;&|<>()$`"'\\]*"""
    assert as_regex("team-a/*.d") == rf"^team\-a/{star}\.d$"


def test_an_attribute_may_be_left_out_where_the_empty_text_is_allowed() -> None:
    free = replace(ALLOWED, attributes={"path": ("/team-a/*",), "cluster": ("*",)})
    volume = make_volume(csi={"volumeAttributes": {"path": "/team-a/x"}})
    assert refusal(make_claim(), volume, [free]) == ""


@pytest.mark.parametrize(
    ("profiles", "profile", "text"),
    [
        (None, "starfs-profile", ""),
        (("starfs-profile",), "starfs-profile", ""),
        (("other",), "", ""),
        (("other",), "starfs-profile", 'by profile "starfs-profile"'),
    ],
)
def test_a_client_reads_only_volumes_that_are_meant_for_it(
    profiles: tuple[str, ...] | None, profile: str, text: str
) -> None:
    rule = replace(ALLOWED, profiles=profiles)
    assert text in refusal(make_claim(profile=profile), make_volume(), [rule])
    assert bool(text) is bool(refusal(make_claim(profile=profile), make_volume(), [rule]))
    assert refusal(make_claim(profile=profile), make_volume(), [rule, ALLOWED]) == ""


@pytest.mark.parametrize("value", ["cache=..", "a:..", "a,..,b", "cache=../other"])
def test_an_option_does_not_climb_up(value: str) -> None:
    assert not fits(value, ["*", value])


@pytest.mark.parametrize("value", ["cache=1,subdir=/other,suid", "cache=1 -o suid", "cache=$HOME"])
def test_a_star_lets_in_the_value_of_one_option_only(value: str) -> None:
    assert fits("cache=1", ["cache=*"])
    assert not fits(value, ["cache=*"])
    assert fits(value, [value])  # The platform wrote it.
