"""An emulator of the ECI API, as documented: what the real service is believed to do.

In a test of the same event loop:

    async with Emulator(keys=KEYS, clock=clock, fate=lambda asked: Fate(runs=5)) as emulator:
        async with connected(emulator) as api: ...        # the product's client
        emulator.faults.fail("CreateContainerGroup", times=3)

As a process: `python -m tests.eci serve --port 8088`, in a test `with EciService() as eci:`, with
the same switches over its second port (`control`). With `--process`, or `mode=Processes([archive])`
(`process`), containers really run; otherwise a `Fate` says what becomes of them (`script`).

`server` is HTTP, `signatures`, `wire` and `schema` read a call, `actions` answers it from `groups`
(each a `lifecycle` of `containers`, driven by an injected clock), `throttle` and `faults` spoil it.
It shares no code with `federation.backends.eci`: the official SDK is the check of both.
What is known of the service, and the frames of exec: docs/eci.md.
"""
