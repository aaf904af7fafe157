"""`python -m tests.eci`: the emulator as a process of its own.

    serve --port 8088 [--control-port 8089] [--key ID=SECRET] [--region cn-beijing]
          [--process [--images ARCHIVE]… [--nfs SERVER:/PATH=FOLDER]…]
    table --control http://127.0.0.1:8089      what it has seen
    scale [--groups 1000] [--limits 1] [-o json]   so many pods at once, through a real agent

`serve` prints one line of JSON with `url`, `control` and `key` when it is ready, and ends on
SIGTERM or SIGINT. With `--process` containers really run here (root); images are those of real
nodes of the test clusters, unless archives are given. Without it, containers whose command is
`sleep N` run for N seconds. `scale` starts a tenant of its own (`scale`); its exit code is 1 if a
target is missed, or has to be with --broken.
"""

import argparse
import asyncio
import json
import signal
import sys
import urllib.request
from functools import partial
from pathlib import Path

from tests.eci.connecting import KEYS
from tests.eci.engine import Timing
from tests.eci.process.images import node_images
from tests.eci.process.mode import Processes
from tests.eci.scale.broken import RULES
from tests.eci.scale.run import measure
from tests.eci.script import Fate, Scripted, with_sleeps
from tests.eci.server import Emulator
from tests.measuring import command


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "table":
        with urllib.request.urlopen(f"{options.control}/table", timeout=10) as answer:
            print(answer.read().decode(), end="")
        return 0
    if options.command == "scale":
        measured = partial(
            measure,
            pods=options.groups,
            runs=options.runs,
            limits=options.limits,
            broken=options.broken,
            keep_log=options.keep_log,
        )
        return command.run(measured, output=options.output)
    asyncio.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    keys = dict(one.split("=", 1) for one in options.key) or KEYS
    fate = Fate(scheduling=options.scheduling, pulling=options.pulling, runs=options.runs)
    played = Scripted(with_sleeps(fate))
    mode = await asyncio.to_thread(_processes, options) if options.process else played
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Emulator(
        keys=keys,
        region=options.region,
        mode=mode,
        limits=options.limits,
        port=options.port,
        control_port=options.control_port,
    ) as emulator:
        ready = {"url": emulator.url, "control": emulator.control_url, "key": next(iter(keys))}
        print(json.dumps(ready), flush=True)
        await ended.wait()


def _processes(options: argparse.Namespace) -> Processes:
    timing = Timing(options.scheduling, options.pulling, terminating=0.1)
    folders = dict(one.split("=", 1) for one in options.nfs)
    volumes = {name: Path(folder) for name, folder in folders.items()}
    archives = options.images or [node_images()]
    return Processes(archives, timing=timing, network_volumes=volumes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.eci", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the emulator")
    serve.add_argument("--port", type=int, default=0, help="of the API; 0 is any")
    serve.add_argument("--control-port", type=int, default=0, help="of the switches; 0 is any")
    serve.add_argument("--key", action="append", default=[], metavar="ID=SECRET")
    serve.add_argument("--region", default="cn-beijing")
    serve.add_argument("--limits", type=float, default=1.0, help="scales the limits of calls")
    serve.add_argument("--scheduling", type=float, default=1.0, help="seconds until a place")
    serve.add_argument("--pulling", type=float, default=2.0, help="seconds until images are there")
    serve.add_argument("--runs", type=float, help="seconds that containers run; none: for ever")
    serve.add_argument("--process", action="store_true", help="run containers on this machine")
    serve.add_argument("--images", type=Path, action="append", default=[], metavar="ARCHIVE")
    serve.add_argument("--nfs", action="append", default=[], metavar="SERVER:/PATH=FOLDER")
    table = commands.add_parser("table", help="print what a running emulator has seen")
    table.add_argument("--control", required=True, metavar="URL")
    scale = commands.add_parser("scale", help="so many pods at once, at the documented limits")
    scale.add_argument("--groups", type=int, default=1000, help="pods at once")
    scale.add_argument("--runs", type=int, default=60, help="seconds that they run at first")
    scale.add_argument("--limits", type=float, default=1.0, help="scales the limits of calls")
    scale.add_argument("--broken", choices=sorted(RULES), help="a rule that the agent breaks")
    scale.add_argument("--keep-log", type=Path, help="copy the agent's log to this file")
    scale.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
