"""What the hot path costs, piece by piece: `make micro`.

What flows where: `material` is what API servers send; each test lets one piece work on it, under
pytest-benchmark. `reference` is a loop that does the same everywhere. `conftest` compares the two:
the ratio hardly depends on the machine, so a threshold can be kept for it. With xdist nothing is
measured, and the tests are skipped.
"""
