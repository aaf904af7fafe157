"""Where the programs of a cluster come from.

In: names such as `kube-apiserver`. Out: paths of executables. Looked for in this order:

1. the folder that KUBEBUILDER_ASSETS names;
2. our cache, `$VNODE_CACHE` or `~/.cache/vnode-federation`, a folder per release;
3. the official release, downloaded and compared with its published checksum;
4. a build from Go modules, whose exact versions stand in `gotools/*/go.mod`.

Steps 3 and 4 fill the cache; a file lock keeps two harnesses from doing it twice, and every
program appears by a rename, so there is never half of one. Raises ProgramError.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clusters import gobuild, releases
from tests.clusters.errors import ProgramError

Progress = Callable[[str], None]

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
KWOK = "kwok"
KUBELET = "kubelet"
KUBECTL = "kubectl"
METRICS_SERVER = "metrics-server"
OLD_KUBECTL = "old-kubectl"
"""From before kubectl spoke WebSocket unasked."""
KIND = "kind"
"""For the tests of clusters of kind. Users bring their own."""
KUBE_PROXY = "kube-proxy"
COREDNS = "coredns"
CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
IN_E2E_IMAGES = ("agnhost", "nnp", "regression-issue-74839")
E2E_TEST = "e2e.test"
GINKGO = "ginkgo"
ORDINARY = (*CONTROL_PLANE, KWOK, KUBELET, KUBECTL, KUBE_PROXY)
"""What `make test` uses."""
OF_SOME_TESTS = (METRICS_SERVER, OLD_KUBECTL, KIND)
"""What `make test` uses too, but only Go can make; without them those tests are skipped."""
CONFORMANCE = (*ORDINARY, COREDNS, *CONTAINERD, *IN_E2E_IMAGES, E2E_TEST, GINKGO)
"""What Kubernetes' own tests on real nodes use; the additional ones are got when asked for only."""
_OLDEST_KUBECTL = (1, 31)
_GOTOOLS = Path(__file__).with_name("gotools")


@dataclass(frozen=True)
class Family:
    """Programs of one release; they always come from one place, so versions never mix."""

    name: str
    module: str
    packages: Mapping[str, str]
    """Program -> Go package."""
    built_in: str = ""
    """Folder of the go.mod where it is not called like the family."""
    tests: bool = False
    """Test binaries: `go test -c` makes them out of the packages' tests."""

    @property
    def folder(self) -> Path:
        """Where the go.mod lies from which it is built."""
        return _GOTOOLS / (self.built_in or self.name)

    @property
    def version(self) -> str:
        """The version that go.mod asks for, e.g. v1.36.3."""
        found = re.search(
            rf"^(?:\s*|require ){re.escape(self.module)} (v\S+)",
            (self.folder / "go.mod").read_text(),
            re.M,
        )
        if found is None:
            raise ProgramError(f"{self.folder}/go.mod does not require {self.module}")
        return found[1]


_KUBERNETES = "k8s.io/kubernetes"
_CONTAINERD = "github.com/containerd/containerd/v2"
_METRICS_SERVER = "sigs.k8s.io/metrics-server"
FAMILIES = (
    Family("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Family(
        "kubernetes",
        _KUBERNETES,
        {
            name: f"{_KUBERNETES}/cmd/{name}"
            for name in (*CONTROL_PLANE[1:], KUBELET, KUBECTL, KUBE_PROXY)
        },
    ),
    Family("kwok", "sigs.k8s.io/kwok", {KWOK: "sigs.k8s.io/kwok/cmd/kwok"}),
    Family("containerd", _CONTAINERD, {name: f"{_CONTAINERD}/cmd/{name}" for name in CONTAINERD}),
    Family("coredns", "github.com/coredns/coredns", {COREDNS: "vnode.dev/tests/gotools/coredns"}),
    Family(
        "kubernetes-images",
        _KUBERNETES,
        {
            "agnhost": f"{_KUBERNETES}/test/images/agnhost",
            "nnp": f"{_KUBERNETES}/test/images/nonewprivs",
            "regression-issue-74839": f"{_KUBERNETES}/test/images/regression-issue-74839",
        },
        built_in="kubernetes",
    ),
    Family(
        "kubernetes-tests",
        _KUBERNETES,
        {E2E_TEST: f"{_KUBERNETES}/test/e2e"},
        built_in="kubernetes",
        tests=True,
    ),
    Family(
        "metrics-server",
        _METRICS_SERVER,
        {METRICS_SERVER: f"{_METRICS_SERVER}/cmd/metrics-server"},
    ),
    Family(KIND, "sigs.k8s.io/kind", {KIND: "sigs.k8s.io/kind"}),
    Family(OLD_KUBECTL, "k8s.io/kubectl", {OLD_KUBECTL: f"vnode.dev/tests/gotools/{OLD_KUBECTL}"}),
    Family(
        "ginkgo",
        "github.com/onsi/ginkgo/v2",
        {GINKGO: "github.com/onsi/ginkgo/v2/ginkgo"},
        built_in="kubernetes",
    ),
)


def ensure(
    names: Iterable[str], progress: Progress, *, installed_kubectl: bool = True
) -> dict[str, Path]:
    """Paths of all these programs; gets the missing ones, which may take minutes.

    Without `installed_kubectl` the one on PATH, which may not be static, is not taken.
    """
    wanted = set(names)
    found: dict[str, Path] = {}
    if installed_kubectl and KUBECTL in wanted and (kubectl := _installed_kubectl()):
        wanted.remove(KUBECTL)
        found[KUBECTL] = kubectl
    for family in FAMILIES:
        part = sorted(wanted & family.packages.keys())
        if part:
            found |= _ensure_family(family, part, progress)
            wanted -= set(part)
    if wanted:
        raise ProgramError(f"nobody knows how to get {', '.join(sorted(wanted))}")
    return found


def sources() -> dict[str, str]:
    """Where each program would come from, without getting it; for people."""
    found: dict[str, str] = {}
    for family in FAMILIES:
        for name in family.packages:
            if name == KUBECTL and (kubectl := _installed_kubectl()):
                found[name] = str(kubectl)
            elif ready := _ready(family, [name]):
                found[name] = str(ready[name])
            else:
                found[name] = f"to be downloaded or built, {family.version}"
    return found


def family_of(name: str) -> Family:
    """The family of a program."""
    return next(family for family in FAMILIES if name in family.packages)


def cache_folder() -> Path:
    """Our cache of programs and images."""
    given = os.environ.get("VNODE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "vnode-federation"


def machine() -> str:
    """The architecture in Go's words."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _ensure_family(family: Family, names: list[str], progress: Progress) -> dict[str, Path]:
    if found := _ready(family, names):
        return found
    folder = _cached(family)
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / "lock", progress):
        missing = [name for name in names if not _is_program(folder / name)]
        if missing:
            _get(family, missing, folder, progress)
    return {name: folder / name for name in names}


def _ready(family: Family, names: list[str]) -> dict[str, Path] | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    return (_all_in(Path(assets), names) if assets else None) or _all_in(_cached(family), names)


def _cached(family: Family) -> Path:
    return cache_folder() / f"{family.name}-{family.version}-linux-{machine()}"


def _get(family: Family, names: list[str], folder: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as work:
        new = Path(work)
        try:
            releases.download(family.name, family.version, names, new, machine(), progress)
        except releases.Unavailable as reason:
            progress(f"{family.name} {family.version}: no release download ({reason})")
            gobuild.build(
                family.folder,
                {name: family.packages[name] for name in names},
                version=family.version,
                output=new,
                tests=family.tests,
                progress=progress,
            )
        for name in names:
            (new / name).chmod(0o755)
            (new / name).replace(folder / name)


def _all_in(folder: Path, names: list[str]) -> dict[str, Path] | None:
    paths = {name: folder / name for name in names}
    return paths if all(map(_is_program, paths.values())) else None


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _installed_kubectl() -> Path | None:
    """The kubectl on PATH, unless it is too old for WebSocket streams and today's API."""
    path = shutil.which(KUBECTL)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "version", "--client", "--output=json"],
            capture_output=True,
            timeout=20,
            check=True,
        )
        version = json.loads(done.stdout)["clientVersion"]["gitVersion"]
    except (subprocess.SubprocessError, ValueError, KeyError):
        return None
    found = re.match(r"v(\d+)\.(\d+)", version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    return Path(path) if number >= _OLDEST_KUBECTL else None


@contextmanager
def file_lock(path: Path, progress: Progress) -> Iterator[None]:
    """Held by one process of this machine at a time; says so when it has to wait."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that gets {path.parent.name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
