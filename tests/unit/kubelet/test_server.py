import asyncio
import datetime
import json
import socket
import ssl
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.certificates import Issuer
from tests.unit.kubelet.conftest import Kubelet, RawClient
from tests.unit.kubelet.fakes import make_pod
from vnode.kube.errors import Unreachable
from vnode.kube.types import ObjectKey, Pod

DAY = datetime.timedelta(days=1)
UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"))
STREAM = "/exec/team/web/main?command=true&output=1"

ROUTES = [
    ("GET", "/pods", 200),
    ("GET", "/runningpods/", 200),
    ("GET", "/runningpods", 200),
    ("GET", "/healthz", 200),
    ("GET", "/configz", 200),
    ("GET", "/metrics", 200),
    ("GET", "/metrics/resource", 200),
    ("GET", "/stats/summary", 200),
    ("GET", "/containerLogs/team/web/main", 200),
    ("GET", "/exec/team/web/main?output=1", 400),
    ("POST", "/exec/team/web/main?output=1", 400),
    ("POST", "/exec/team/web/uid-1/main?output=1", 400),
    ("GET", "/attach/team/web/main?output=1", 400),
    ("POST", "/attach/team/web/uid-1/main?output=1", 400),
    ("GET", "/portForward/team/web", 400),
    ("POST", "/portForward/team/web/uid-1", 400),
    ("POST", "/run/team/web/main", 501),
    ("POST", "/run/team/web/uid-1/main", 501),
    ("GET", "/unknown", 404),
    ("DELETE", "/pods", 404),
]


@pytest.mark.parametrize(("method", "path", "code"), ROUTES)
async def test_a_route_asks_for_credentials_then_rights_then_answers(
    kubelet: Kubelet, method: str, path: str, code: int
) -> None:
    kubelet.reviews.rights.add(("reader", "delete", "proxy"))
    assert await kubelet.ask(path, method=method, token="") == (401, "Unauthorized")
    assert await kubelet.ask(path, method=method, token="forged") == (401, "Unauthorized")
    status, text = await kubelet.ask(path, method=method, token="useless")
    assert status == 403
    assert text.startswith("Forbidden (user=nobody, verb=")
    status, _ = await kubelet.ask(path, method=method)
    assert status == code


async def test_a_client_certificate_authenticates_but_its_rights_are_reviewed_too(
    kubelet: Kubelet,
) -> None:
    assert (await kubelet.ask("/pods", token="", user="apiserver"))[0] == 200
    assert (await kubelet.ask("/pods", token="", user="stranger"))[0] == 403
    assert kubelet.reviews.count("TokenReview") == 0


@pytest.fixture
def foreign_tls(kubelet: Kubelet, tmp_path: Path) -> ssl.SSLContext:
    """Of a client that has our client CA's best name, and not its certificate."""
    context = kubelet.client_tls()
    issuer = Issuer.of(trustme.CA())
    issuer.issue(("O", "system:masters"), ("CN", "apiserver")).show(context, tmp_path)
    return context


@pytest.mark.parametrize(("method", "path", "code"), ROUTES)
async def test_a_foreign_certificate_is_none_on_every_route(
    kubelet: Kubelet, foreign_tls: ssl.SSLContext, method: str, path: str, code: int
) -> None:
    async def asked(token: str) -> int:
        return (await kubelet.ask(path, method=method, token=token, tls=foreign_tls))[0]

    kubelet.reviews.rights.add(("reader", "delete", "proxy"))
    assert [await asked(token) for token in ("", "forged", "useless", "good")] == [
        401,
        401,
        403,
        code,
    ]


@pytest.mark.parametrize(
    "certificate",
    [
        {"age": 3 * DAY, "life": DAY},
        {"age": -DAY},
        {"purpose": ExtendedKeyUsageOID.SERVER_AUTH},
    ],
    ids=["expired", "of tomorrow", "for servers"],
)
async def test_a_certificate_of_the_client_ca_that_is_not_good_is_none(
    kubelet: Kubelet, client_ca: trustme.CA, tmp_path: Path, certificate: dict[str, Any]
) -> None:
    context = kubelet.client_tls()
    Issuer.of(client_ca).issue(("CN", "apiserver"), **certificate).show(context, tmp_path)
    assert (await kubelet.ask("/pods", token="", tls=context))[0] == 401
    assert (await kubelet.ask("/pods", tls=context))[0] == 200


async def test_who_is_not_known_makes_another_handshake_for_the_next_request(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    """Its certificate may be good by then: of a client CA that we had not heard of."""
    context, newer = kubelet.client_tls(), trustme.CA()
    Issuer.of(newer).issue(("CN", "apiserver")).show(context, tmp_path)
    early = await kubelet.dial(tls=context)
    await kubelet.certificate.trust_clients(newer.cert_pem.bytes())
    assert await get(early) == 401
    assert await early.reader.read() == b""
    await early.close()
    assert (await kubelet.ask("/healthz", token="", tls=context))[0] == 200


async def test_a_request_is_refused_while_the_api_server_does_not_answer(kubelet: Kubelet) -> None:
    kubelet.reviews.error = Unreachable("connect")
    assert (await kubelet.ask("/pods"))[0] == 503
    assert (await kubelet.ask("/pods", token="", user="apiserver"))[0] == 503


@pytest.mark.parametrize("path", ["/exec/team/web/main", "/attach/team/web/main"])
async def test_reading_rights_do_not_open_a_stream(kubelet: Kubelet, path: str) -> None:
    kubelet.reviews.rights.discard(("reader", "create", "proxy"))
    assert (await kubelet.ask("/containerLogs/team/web/main"))[0] == 200
    status, text = await kubelet.ask(f"{path}?output=1")
    assert status == 403
    assert "verb=create" in text


async def test_the_pods_right_alone_lists_pods_and_nothing_else(kubelet: Kubelet) -> None:
    kubelet.reviews.rights = {("reader", "get", "pods")}
    assert (await kubelet.ask("/pods"))[0] == 200
    assert (await kubelet.ask("/runningpods/"))[0] == 200
    assert (await kubelet.ask("/containerLogs/team/web/main"))[0] == 403
    assert (await kubelet.ask("/healthz"))[0] == 403


FINE_GRAINED = [
    ("/pods", ["pods", "proxy"], 200),
    ("/runningpods/", ["pods", "proxy"], 200),
    ("/healthz", ["healthz", "proxy"], 200),
    ("/configz", ["configz", "proxy"], 200),
    ("/stats/summary", ["stats"], 200),
    ("/metrics", ["metrics"], 200),
    ("/metrics/resource", ["metrics"], 200),
    ("/metrics/cadvisor", ["metrics"], 404),
    ("/logs/", ["log"], 404),
    ("/checkpoint/team/web/main", ["checkpoint"], 404),
    ("/statusz", ["statusz"], 404),
    ("/flagz", ["configz"], 404),
    ("/containerLogs/team/web/main", ["proxy"], 200),
    ("/podsandmore", ["proxy"], 404),
    ("/metrics/../pods", ["metrics"], 404),
]


@pytest.mark.parametrize(("path", "subresources", "code"), FINE_GRAINED)
async def test_rights_on_one_subresource_are_asked_for_as_kubelets_do(
    kubelet: Kubelet, path: str, subresources: list[str], code: int
) -> None:
    kubelet.reviews.rights = set()
    status, text = await kubelet.raw(path)
    assert status == 403
    assert text.endswith(f"subresource(s)=[{' '.join(subresources)}])")
    asked = [
        body["spec"]["resourceAttributes"]["subresource"]  # type: ignore[index]
        for body in kubelet.reviews.bodies
        if body["kind"] == "SubjectAccessReview"
    ]
    assert asked == subresources
    for subresource in subresources:
        kubelet.reviews.rights = {("another", "get", subresource)}
        assert (await kubelet.raw(path, user="another"))[0] == code


async def test_configz_shows_what_is_true_of_this_kubelet(kubelet: Kubelet) -> None:
    (kind, config), *others = json.loads((await kubelet.ask("/configz"))[1]).items()
    assert (kind, others) == ("kubeletconfig", [])
    assert config["port"] == kubelet.server.port
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"]["mode"] == "Webhook"
    assert config["streamingConnectionIdleTimeout"] == "4h0m0s"
    assert config["authentication"]["webhook"]["cacheTTL"] == "2m0s"
    assert config["authorization"]["webhook"]["cacheUnauthorizedTTL"] == "30s"


async def test_pods_are_a_pod_list_with_specs_and_statuses_as_they_are(kubelet: Kubelet) -> None:
    status, text = await kubelet.ask("/pods")
    assert status == 200
    listed = json.loads(text)
    assert (listed["kind"], listed["apiVersion"]) == ("PodList", "v1")
    (pod,) = listed["items"]
    assert pod["metadata"]["uid"] == "uid-1"
    assert pod["spec"]["nodeName"] == "virtual-1"
    assert pod["status"]["newField"] == 1


@pytest.mark.parametrize(
    ("path", "source"), [("/pods", "tenant_pods"), ("/runningpods/", "running")]
)
async def test_others_have_their_turn_while_many_pods_are_looked_at(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch, path: str, source: str
) -> None:
    looked_at, turns = 0, [0]

    def many(_node: str) -> Iterator[Pod]:
        nonlocal looked_at
        for number in range(1000):
            looked_at += 1
            yield make_pod(f"pod-{number}")

    async def watch() -> None:
        while True:
            turns.append(looked_at)
            await asyncio.sleep(0)

    monkeypatch.setattr(kubelet.pods, source, many)
    watching = asyncio.create_task(watch())
    status, text = await kubelet.ask(path)
    watching.cancel()
    assert (status, len(json.loads(text)["items"])) == (200, 1000)
    assert max(after - before for before, after in pairwise(turns)) <= 200


async def test_running_pods_are_those_with_a_copy_below(kubelet: Kubelet) -> None:
    kubelet.pods.pods[ObjectKey("team", "new")] = make_pod("new", uid="uid-2")
    kubelet.pods.not_started.add(ObjectKey("team", "new"))
    assert len(json.loads((await kubelet.ask("/pods"))[1])["items"]) == 2
    (pod,) = json.loads((await kubelet.ask("/runningpods/"))[1])["items"]
    assert pod["metadata"]["name"] == "web"


async def test_on_the_port_for_other_replicas_it_asks_for_the_same_and_says_the_same(
    kubelet: Kubelet,
) -> None:
    async with kubelet.request("/healthz", token="", port=kubelet.passed_port) as response:
        assert response.status == 401
    async with kubelet.request("/healthz", token="", user="reader", port=kubelet.passed_port) as ok:
        assert await ok.text() == "ok"


async def test_metrics_show_the_registry_with_our_requests(kubelet: Kubelet) -> None:
    await kubelet.ask("/healthz")
    _, text = await kubelet.ask("/metrics")
    assert 'vnode_kubelet_requests_total{code="200",route="healthz"} 1.0' in text
    assert "vnode_kubelet_sessions 0.0" in text


async def test_a_bug_in_a_handler_answers_500_without_details(kubelet: Kubelet) -> None:
    kubelet.backend.stream_error = RuntimeError("secret of the compute side")
    client = await kubelet.dial()
    try:
        status, headers = await client.open("POST", STREAM, *UPGRADE)
        assert status == 500
        length = int(dict(headers)["Content-Length"])
        assert await client.reader.readexactly(length) == b"internal error of the virtual node"
    finally:
        await client.close()


async def test_stop_lets_sessions_end_by_themselves(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    status, _ = await client.open("POST", STREAM, *UPGRADE)
    assert status == 101
    stopping = asyncio.create_task(kubelet.server.stop(drain_seconds=5))
    client.writer.write(b"still here")
    assert await client.reader.readexactly(15) == b"echo:still here"
    assert not stopping.done()
    client.writer.write(b"quit")
    assert await client.reader.read() == b"echo:quit"
    await stopping
    await client.close()


async def test_stop_ends_sessions_that_outlast_the_drain(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    await client.open("POST", STREAM, *UPGRADE)
    await kubelet.server.stop(drain_seconds=0)
    assert await client.reader.read() == b""
    assert kubelet.sessions.statistics().open == 0
    await client.close()


async def test_a_kept_connection_gets_no_new_request_through_while_stopping(
    kubelet: Kubelet,
) -> None:
    session = await kubelet.dial()
    await session.open("POST", STREAM, *UPGRADE)
    kept = await kubelet.dial()
    status, headers = await kept.open("GET", "/healthz")
    assert status == 200
    await kept.reader.readexactly(int(dict(headers)["Content-Length"]))
    stopping = asyncio.create_task(kubelet.server.stop(drain_seconds=5))
    await asyncio.sleep(0)
    status, _ = await kept.open("GET", "/healthz")
    assert status == 503
    await kept.close()
    await session.close()
    await stopping


async def test_a_kept_connection_is_let_in_no_more_once_its_client_ca_is_replaced(
    kubelet: Kubelet,
) -> None:
    kept = await kubelet.dial()
    assert await get(kept) == 200
    await kubelet.certificate.install(kubelet.certificate.pair)
    assert await get(kept) == 200
    await kubelet.certificate.trust_clients(trustme.CA().cert_pem.bytes())
    assert await get(kept) == 401
    assert await kept.reader.read() == b""
    await kept.close()


async def test_a_kept_connection_is_let_in_no_more_once_its_certificate_ended(
    kubelet: Kubelet,
) -> None:
    kept = await kubelet.dial()
    assert await get(kept) == 200
    kubelet.clock.offset = 1000 * 365 * 86400.0
    assert await get(kept) == 401
    assert await kept.reader.read() == b""
    await kept.close()


@pytest.mark.parametrize("user", ["", "apiserver"])
async def test_a_kept_connection_with_a_token_outlives_the_client_ca(
    kubelet: Kubelet, user: str
) -> None:
    kept = await kubelet.dial(user=user)
    token = ("Authorization", "Bearer good")
    assert await get(kept, token) == 200
    await kubelet.certificate.trust_clients(trustme.CA().cert_pem.bytes())
    assert await get(kept, token) == 200
    await kept.close()


async def get(client: RawClient, *headers: tuple[str, str]) -> int:
    status, answered = await client.open("GET", "/healthz", *headers)
    await client.reader.readexactly(int(dict(answered)["Content-Length"]))
    return status


async def test_a_port_in_use_is_an_error_and_leaves_nothing_behind(
    kubelet: Kubelet, server_ca: trustme.CA, client_ca: trustme.CA
) -> None:
    second = Kubelet(server_ca, client_ca, kubelet.sessions).server
    second._port = kubelet.server.port
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop(drain_seconds=0)


async def test_a_client_that_is_gone_without_a_word_is_looked_for(kubelet: Kubelet) -> None:
    client = await kubelet.dial()
    await client.open("GET", "/healthz")
    runner = kubelet.server._runner
    assert runner is not None
    assert runner.server is not None
    (connection,) = runner.server.connections
    assert connection.transport is not None
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    await client.close()
