"""`python -m federation.cli`: the `vnode` command where the package is not installed."""

from federation.cli import app

app(prog_name="vnode")
