import asyncio

from vnode.runtime.turns import in_turns


async def test_others_get_their_turn_during_a_long_loop() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    seen = [item async for item in in_turns(range(1000), at_a_time=100)]
    assert seen == list(range(1000))
    assert turns == 10
    task.cancel()
