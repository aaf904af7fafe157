"""Logs: what a line looks like, and what never gets into one."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from federation.config import LogFormat, LoggingConfig, LogLevel
from federation.telemetry import configure_logging, metrics_registry, redact


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.getLogger("asyncio").filters.clear()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(*, level: LogLevel = LogLevel.INFO, form: LogFormat | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(LoggingConfig(level=level, format=form), stream=stream)
    return stream


def test_events_are_json_lines_where_there_is_no_terminal() -> None:
    stream = configured()

    structlog.get_logger("vnode.pods").info("Pod created", pod="a", attempts=2, namespace="team-a")

    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "logger", "event", "namespace", "pod", "attempts"]
    assert (line["level"], line["logger"], line["event"]) == ("info", "vnode.pods", "Pod created")


def test_text_can_be_asked_for() -> None:
    stream = configured(form=LogFormat.TEXT)

    structlog.get_logger("vnode.pods").info("Pod created", pod="a")

    assert "Pod created" in stream.getvalue()
    assert "pod=a" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_less_important_events_are_left_out() -> None:
    stream = configured(level=LogLevel.WARNING)

    structlog.get_logger("x").info("seen often")
    logging.getLogger("y").info("seen often")
    structlog.get_logger("x").warning("seen seldom")

    assert [line["event"] for line in lines(stream)] == ["seen seldom"]


def test_the_standard_library_writes_the_same_lines() -> None:
    stream = configured()

    logging.getLogger("aiohttp.server").warning("slow %s", "client")

    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "logger", "event"]
    assert (line["logger"], line["event"]) == ("aiohttp.server", "slow client")


def test_a_client_library_that_logs_whole_answers_is_kept_quiet() -> None:
    stream = configured(level=LogLevel.DEBUG)

    logging.getLogger("kubernetes_asyncio.client.rest").debug("response body: %s", "hunter2")

    assert stream.getvalue() == ""


def test_writes_behind_a_peer_that_left_are_no_news() -> None:
    stream = configured()

    logging.getLogger("asyncio").warning("SSL connection is closed")
    logging.getLogger("asyncio").warning("socket.send() raised exception.")
    logging.getLogger("asyncio").warning("something else")

    assert [line["event"] for line in lines(stream)] == ["something else"]


@pytest.mark.parametrize("form", list(LogFormat))
def test_exceptions_are_written_without_local_variables(form: LogFormat) -> None:
    stream = configured(form=form)
    local = "hunter2"
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("x").exception("Failed", length=len(local))

    assert "RuntimeError: broken" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("form", list(LogFormat))
def test_exceptions_of_other_libraries_are_written_with_their_trace(form: LogFormat) -> None:
    stream = configured(form=form)
    try:
        raise RuntimeError("broken")
    except RuntimeError as error:
        logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=error)

    assert "Traceback" in stream.getvalue()
    assert "RuntimeError: broken" in stream.getvalue()


def test_the_exception_is_the_last_key() -> None:
    stream = configured()
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("x").exception("Failed", reason="a")

    (line,) = lines(stream)
    assert list(line)[-2:] == ["reason", "exception"]


@pytest.mark.parametrize(
    "key",
    ["token", "accessToken", "secret", "client_secret", "Authorization", "password", "passwd",
     "private_key", "apiKey", "Set-Cookie", "credentials"],
)  # fmt: skip
def test_values_of_credential_keys_are_redacted_at_any_depth(key: str) -> None:
    stream = configured()

    structlog.get_logger("x").info(
        "Called", **{key: "hunter2"}, headers={key: ["hunter2"]}, list=[{key: {"a": "hunter2"}}]
    )

    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0][key] == "[redacted]"


def test_counts_are_no_credentials() -> None:
    event = redact(None, "info", {"tokens": 3, "secret_objects": True, "token_age": 1.5})

    assert event == {"tokens": 3, "secret_objects": True, "token_age": 1.5}


@given(st.dictionaries(st.sampled_from(["pod", "reason", "list"]), st.text()))
def test_other_values_stay_as_they_are(values: dict[str, object]) -> None:
    assert redact(None, "info", dict(values)) == values


def test_each_agent_has_its_own_metrics_registry() -> None:
    assert metrics_registry() is not metrics_registry()
