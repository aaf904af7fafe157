"""An emulator of the ECI API, as documented: what the real service is believed to do.

`server` is HTTP, `signatures` and `wire` read a call, `actions` answers it from `groups` (the
state machine, driven by an injected clock), `throttle` and `faults` spoil it. It shares no code
with `federation.backends.eci`: the official SDK is the check of both (docs/eci.md).
"""
