"""What an error of the compute API server means (DESIGN 5, Rejection)."""

import pytest

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import (
    pod_refused,
    stream_failed,
    unseen,
    waiting,
)
from tests.builders import make_error
from vnode.backend import Rejected, Waiting
from vnode.kube.errors import ConfigError, KubeError, Silent, Unreachable, Untrusted, Withheld

NAMES = Names("red--team-a", "team-a")
NO_ANSWER = [Unreachable("10.0.0.1: cannot connect"), Silent("x"), Untrusted("x")]


class TestPodRefused:
    @pytest.mark.parametrize("code", [400, 422])
    def test_what_can_never_run_is_rejected_with_its_field(self, code: int) -> None:
        error = make_error(code, 'Pod "job-0" is invalid', fields=["spec.x", "spec.y"])
        refused = pod_refused(error, names=NAMES)
        assert isinstance(refused, Rejected)
        assert refused.field == "spec.x"
        assert str(refused) == 'Pod "job-0" is invalid'

    @pytest.mark.parametrize(
        ("code", "message", "reason"),
        [
            (403, "exceeded quota: gpus, requested: 1", "QuotaExceeded"),
            (403, "failed quota: gpus: must specify cpu", "QuotaExceeded"),
            (403, 'violates PodSecurity "restricted:latest"', "PodSecurityViolation"),
            (403, "because it is being terminated", "NamespaceTerminating"),
            (403, "no", "ComputeForbidden"),
            (401, "no", "ComputeError"),
            (404, "namespaces not found", "NamespaceNotReady"),
            (409, "the object has been modified", "ComputeConflict"),
            (410, "too old", "ComputeError"),
            (413, "too large", "ComputeError"),
            (429, "slow down", "ComputeBusy"),
            (500, "webhook failed", "ComputeError"),
            (503, "no leader", "ComputeError"),
            (504, "etcd", "ComputeError"),
        ],
    )
    def test_everything_else_may_pass(self, code: int, message: str, reason: str) -> None:
        refused = pod_refused(make_error(code, message), names=NAMES)
        assert isinstance(refused, Waiting)
        assert refused.reason == reason
        assert message in str(refused)

    @pytest.mark.parametrize("error", NO_ANSWER)
    def test_no_answer_may_pass_too(self, error: KubeError) -> None:
        refused = pod_refused(error, names=NAMES)
        assert isinstance(refused, Waiting)
        assert refused.reason == "ComputeUnreachable"
        assert "10.0.0.1" not in str(refused)


class TestUnseen:
    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (None, "ComputeNotSeen"),
            (make_error(401, "red--team-a"), "ComputeForbidden"),
            (make_error(403, "red--team-a"), "ComputeForbidden"),
            (make_error(429, "red--team-a"), "ComputeBusy"),
            (make_error(500, "red--team-a"), "ComputeError"),
            *((error, "ComputeUnreachable") for error in NO_ANSWER),
            (ConfigError("red--team-a"), "ComputeUnreachable"),
        ],
    )
    def test_what_is_wrong_is_told_without_names(
        self, error: KubeError | None, reason: str
    ) -> None:
        told = unseen(error)
        assert told.reason == reason
        assert "red--team-a" not in told.message
        assert "10.0.0.1" not in told.message


class TestWaiting:
    def test_what_we_may_not_send_is_no_reason_to_wait(self) -> None:
        error = Withheld("POST: not sent")
        with pytest.raises(Withheld):
            waiting(error, what="x", names=NAMES)
        with pytest.raises(Withheld):
            pod_refused(error, names=NAMES)

    def test_the_server_s_own_time_is_kept(self) -> None:
        error = make_error(429, retry_after=7.0)
        assert waiting(error, what="a Secret", names=NAMES).retry_after == 7.0

    @pytest.mark.parametrize(
        ("error", "not_done"),
        [
            (make_error(403), True),
            (make_error(409), True),
            (make_error(429), True),
            (make_error(500), False),
            (make_error(504), False),
            (Unreachable("cut"), False),
        ],
        ids=str,
    )
    def test_only_an_answer_of_the_server_s_says_that_nothing_was_done(
        self, error: KubeError, not_done: bool
    ) -> None:
        assert waiting(error, what="x", names=NAMES).not_done is not_done

    @pytest.mark.parametrize(
        ("code", "text", "passing"),
        [
            (409, 'Operation cannot be fulfilled on resourcequotas "vnode": please apply', True),
            (409, 'Operation cannot be fulfilled on pods "job-0": please apply', False),
            (403, "exceeded quota: vnode", False),
        ],
    )
    def test_a_quota_that_changed_meanwhile_passes_by_itself(
        self, code: int, text: str, passing: bool
    ) -> None:
        assert waiting(make_error(code, text), what="x", names=NAMES).passing is passing

    @pytest.mark.parametrize("code", [400, 403, 404, 409, 422, 500])
    def test_names_are_concealed(self, code: int) -> None:
        text = 'User "kube:agent" cannot do this in namespace "red--team-a"'
        for made in (
            waiting(make_error(code, text), what="a Secret", names=NAMES),
            pod_refused(make_error(code, text), names=NAMES),
            stream_failed(make_error(code, text), names=NAMES),
        ):
            assert "red--team-a" not in str(made)
            assert "kube:agent" not in str(made)

    def test_our_own_connection_settings_are_nobody_s_business(self) -> None:
        made = waiting(ConfigError("/etc/agent/kubeconfig: no such file"), what="x", names=NAMES)
        assert "/etc/agent" not in str(made)
        assert made.reason == "ComputeUnreachable"


class TestStreams:
    @pytest.mark.parametrize("code", [400, 404, 409, 500])
    def test_the_code_is_the_compute_side_s(self, code: int) -> None:
        failed = stream_failed(make_error(code, "no such container", reason="R"), names=NAMES)
        assert (failed.code, failed.reason) == (code, "R")
        assert str(failed) == "no such container"

    def test_a_right_that_the_agent_lacks_is_no_403_of_the_user(self) -> None:
        assert stream_failed(make_error(403), names=NAMES).code == 502

    @pytest.mark.parametrize("error", NO_ANSWER)
    def test_no_answer_is_a_timeout(self, error: KubeError) -> None:
        failed = stream_failed(error, names=NAMES)
        assert failed.code == 504
        assert "10.0.0.1" not in str(failed)

    def test_a_credential_that_the_agent_lacks_is_no_401_of_the_user(self) -> None:
        assert stream_failed(make_error(401), names=NAMES).code == 502
