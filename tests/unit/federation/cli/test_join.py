"""`vnode join` without a cluster: what it prints, and which options do not go together."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from federation.cli import app
from federation.cli.join_shown import as_json, as_text
from federation.credential import account_of, read_token
from federation.join.apply import Applied
from federation.join.apply import Result as Became
from federation.join.credential import Route, configuration, credential_of
from federation.join.leftovers import Leftover
from federation.join.render import compute_objects
from tests.unit.federation.join.builders import make_plan
from tests.unit.federation.tokens import EPOCH, make_token

if TYPE_CHECKING:
    from pathlib import Path

BASIC = ("--tenant=red", "--cluster=gpu-a", "--namespaces=team-a")
APPLIED = [
    Applied("Namespace", "", "red--team-a", Became.CREATED),
    Applied("Role", "red--team-a", "vnode", Became.UNCHANGED),
]


def join(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["join", *arguments], env={"KUBECONFIG": None})


def config(folder: Path, **tenant: Any) -> Path:
    path = folder / "config.yaml"
    clusters = [{"name": name, "kubeconfig": name} for name in ("one", "two")]
    path.write_text(yaml.safe_dump({"tenant": {"name": "red", **tenant}, "clusters": clusters}))
    return path


def test_print_writes_the_manifests_and_nothing_else() -> None:
    done = join(*BASIC, "--print")
    assert done.exit_code == 0
    assert [*yaml.safe_load_all(done.stdout)] == compute_objects(make_plan())
    assert done.stderr == ""


def test_a_configuration_says_the_same_as_options(tmp_path: Path) -> None:
    file = config(tmp_path, namespaces=["team-a"])
    done = join(f"--config={file}", "--cluster=two", "--print")
    assert done.stdout == join("--tenant=red", "--cluster=two", *BASIC[2:], "--print").stdout


def test_rights_in_the_whole_cluster_that_a_configuration_asks_for_are_said(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.yaml"
    cluster = {
        "name": "one",
        "kubeconfig": "one",
        "usage": "kubelet",
        "pools": [{"capacity": {"sources": ["nodes"]}}],
    }
    tenant = {"name": "red", "namespaces": ["a"]}
    file.write_text(yaml.safe_dump({"tenant": tenant, "clusters": [cluster]}))
    done = join(f"--config={file}", "--print")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: rights in the whole cluster: usage from kubelets")
    assert "run commands in them" in lines[0]
    assert lines[1].startswith("warning: rights in the whole cluster: capacity from nodes")


def test_on_demand_says_what_its_policies_do_not_keep_from_the_agent() -> None:
    lines = join(*BASIC[:2], "--on-demand", "--usage-kubelet", "--print").stderr.splitlines()
    assert len(lines) == 2
    assert "may read all Secrets" in lines[0]
    assert "only /stats/summary" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cluster=gpu-a",), "give --config, or --tenant and --cluster"),
        ((*BASIC[:2],), "no namespace is named"),
        ((*BASIC, "--print", "--dry-run"), "--dry-run does not go with --print"),
        ((*BASIC, "--dry-run", "--secret-file=x"), "--secret-file does not go with"),
        ((*BASIC, "--quota=many"), "is no quota"),
        ((*BASIC, "--token-life=5m"), "shorter than API servers allow"),
        ((*BASIC, "--token-life=long"), "no duration"),
        ((*BASIC, "--pod-security=strict"), "no Pod Security level"),
        ((*BASIC, "--tenant-api-server=host"), "no ADDRESS:PORT"),
        (("--tenant=a--b", *BASIC[1:]), "must not contain"),
    ],
)
def test_wrong_options_are_an_error_that_says_what_to_do(
    arguments: tuple[str, ...], words: str
) -> None:
    done = join(*arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "choose one with --cluster"),
        (("--cluster=three",), 'has no cluster "three"; it has one, two'),
        (("--cluster=one", "--tenant=red"), "--tenant does not go with --config"),
        (("--cluster=one", "--on-demand"), "--on-demand does not go with --config"),
    ],
)
def test_what_does_not_fit_a_configuration_is_an_error(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = join(f"--config={config(tmp_path, namespaces=['a'])}", *arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    done = join(*BASIC, f"--kubeconfig={tmp_path / 'none'}")
    assert done.exit_code == 2
    assert "none: no such file" in done.stderr


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/null", "link", "folder"])
def test_a_device_a_link_and_a_folder_are_no_place_for_a_secret(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "kubeconfig").write_text("")  # it ends there at the latest
    done = join(
        *BASIC, f"--kubeconfig={tmp_path / 'kubeconfig'}", f"--secret-file={tmp_path / place}"
    )
    assert done.exit_code == 2
    assert "is no ordinary file; name another one, - for stdout" in " ".join(done.stderr.split())


def test_several_files_in_the_environment_are_not_taken_for_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    several = {"KUBECONFIG": f"{one}:{two}"}
    done = CliRunner().invoke(app, ["join", *BASIC], env=several)
    assert done.exit_code == 2
    assert "KUBECONFIG names several files; name one with --kubeconfig" in done.stderr
    for given, environment in (([f"--kubeconfig={two}"], several), ([], {"KUBECONFIG": f"{two}:"})):
        done = CliRunner().invoke(app, ["join", *BASIC, *given], env=environment)
        assert f"{two}: no such file" in " ".join(done.stderr.split())


def test_the_token_is_in_the_manifests_alone(tmp_path: Path) -> None:
    token = read_token(make_token())
    assert token is not None
    made = credential_of(make_plan(), Route("https://h:6443", b"PEM"), token)
    assert (made.account, made.expires_at) == (account_of("red"), EPOCH + 3600)
    text = as_text(make_plan(), APPLIED, made, left=[], file=tmp_path, dry_run=False)
    shown = json.loads(as_json(make_plan(), APPLIED, made, left=[], file=tmp_path, dry_run=False))
    (secret, *_) = yaml.safe_load_all(made.manifests)
    kept = base64.b64decode(secret["data"]["kubeconfig"]).decode()
    assert token.value in kept
    assert shown["secret"]["name"] == secret["metadata"]["name"] == "vnode-compute-gpu-a"
    assert shown["secret"]["expires"] == "2027-01-15T09:00:00Z"
    for said in (text, json.dumps(shown), repr(made)):
        assert token.value not in said
        assert secret["data"]["kubeconfig"] not in said


def test_a_table_says_what_became_of_each_object() -> None:
    lines = as_text(make_plan(), APPLIED, None, left=[], file=None, dry_run=False).splitlines()
    assert lines[0].split() == ["KIND", "NAMESPACE", "NAME", "RESULT"]
    assert lines[1].split() == ["Namespace", "-", "red--team-a", "created"]
    assert "run this again with --secret-file FILE" in "\n".join(lines)
    tried = as_text(make_plan(), APPLIED, None, left=[], file=None, dry_run=True).splitlines()
    assert tried[1].endswith("would be created")
    assert tried[2].endswith("unchanged")
    assert len(tried) == 3


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_earlier_joins_left_is_shown_with_its_removal(*, dry_run: bool) -> None:
    left = [Leftover("RoleBinding", "red--b", "vnode")]
    text = as_text(make_plan(), APPLIED, None, left=left, file=None, dry_run=dry_run)
    assert "kubectl delete rolebindings vnode --namespace=red--b" in text.splitlines()
    said = json.loads(as_json(make_plan(), APPLIED, None, left=left, file=None, dry_run=dry_run))
    assert said["leftovers"] == [{"kind": "RoleBinding", "namespace": "red--b", "name": "vnode"}]


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (make_plan(), {}),
        (make_plan("team-a", same=True), {"namespaces": {"mode": "same"}}),
        (
            make_plan("team-a=x"),
            {"namespaces": {"mode": "map", "table": {"team-a": "x"}}},
        ),
        (make_plan(usage_kubelet=True), {"usage": "kubelet"}),
    ],
    ids=["prefix", "same", "map", "kubelet"],
)
def test_the_configuration_that_is_shown_fits_what_was_made(plan: Any, wanted: Any) -> None:
    shown: Any = configuration(plan)
    (entry,) = shown["clusters"]
    known = {
        "name": "gpu-a",
        "kubeconfig": "/etc/vnode/gpu-a/kubeconfig",
        "kubeconfigSecret": "vnode-compute-gpu-a",
    }
    assert entry == {**known, **wanted}
