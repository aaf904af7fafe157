"""Pins the private parts of aiohttp that `takeover` rests on."""

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp.web_protocol import RequestHandler

from tests.unit.kubelet.fakes import EchoUpgrade
from vnode.kube.errors import Unreachable
from vnode.kubelet.streams.takeover import take_over


def test_aiohttp_still_keeps_early_bytes_where_we_look() -> None:
    assert "_message_tail" in RequestHandler.__slots__


def make_request(transport: object) -> Mock:
    return Mock(transport=transport, protocol=Mock(_message_tail=b"early"))


async def test_early_bytes_go_to_the_tunnel_once_and_reading_goes_on() -> None:
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    transport.is_reading.return_value = False
    request = make_request(transport)
    spliced = take_over(request, EchoUpgrade([("Upgrade", "SPDY/3.1"), ("Server", "x")]))
    written = [call.args[0] for call in transport.write.call_args_list]
    assert written == [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
        b"echo:early",
    ]
    assert request.protocol._message_tail == b""
    transport.resume_reading.assert_called_once_with()
    request.protocol.connection_lost.assert_not_called()
    request.task.add_done_callback.call_args.args[0](None)
    request.protocol.connection_lost.assert_called_once_with(None)
    spliced.close()


@pytest.mark.parametrize("gone", [True, False])
async def test_a_client_that_left_gets_nothing_and_the_connection_below_is_dropped(
    gone: bool,
) -> None:
    closing = Mock(spec=asyncio.Transport)
    closing.is_closing.return_value = True
    connection = EchoUpgrade([])
    with pytest.raises(ConnectionResetError):
        take_over(make_request(None if gone else closing), connection)
    assert connection.aborted
    assert connection.tunnel is None


async def test_a_connection_below_that_breaks_at_once_closes_both_sides() -> None:
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    connection = Mock(headers=[])
    connection.splice.side_effect = Unreachable("cut")
    with pytest.raises(ConnectionResetError):
        take_over(make_request(transport), connection)
    connection.abort.assert_called_once_with()
    transport.abort.assert_called_once_with()
