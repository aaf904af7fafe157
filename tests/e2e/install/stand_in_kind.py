"""A `kind` that hands out clusters that run already, for machines without a container engine.

In: a folder with a file `pool.json` (name -> kubeconfig); the arguments that the real one takes:
kind v0.33 `create cluster`, `get clusters`, `get kubeconfig`, `load image-archive` and `delete
cluster`, with the options that `tests.clusters.kind` gives. Out: what the real one prints. Which
clusters "exist" is a list in `clusters.json`; every call is a line of `calls`. What is not known
here is an error, as it is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def install(folder: Path, pool: dict[str, Path]) -> Path:
    """Make a `kind` for these clusters; returns the folder to put on PATH."""
    folder.mkdir(parents=True)
    (folder / "pool.json").write_text(json.dumps({name: str(path) for name, path in pool.items()}))
    (folder / "clusters.json").write_text("[]")
    (folder / "calls").touch()
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "kind"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{folder}" "$@"\n')
    program.chmod(0o755)
    return programs


def calls(folder: Path) -> list[list[str]]:
    """What it was asked, in order."""
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def existing(folder: Path) -> list[str]:
    """Names of the clusters that it has now."""
    names: list[str] = json.loads((folder / "clusters.json").read_text())
    return names


def main(folder: Path, arguments: list[str]) -> int:
    """One call."""
    with (folder / "calls").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    options = _parser().parse_args(arguments)
    pool: dict[str, str] = json.loads((folder / "pool.json").read_text())
    names = existing(folder)
    asked = (options.verb, options.what)
    if asked == ("get", "clusters"):
        print("\n".join(names))
        return 0
    if (asked == ("create", "cluster")) == (options.name in names) or options.name not in pool:
        print(f"ERROR: {' '.join(asked)} {options.name}: have {names}", file=sys.stderr)
        return 1
    if asked == ("create", "cluster"):
        config = options.config.read_text()
        assert "kind.x-k8s.io/v1alpha4" in config
        options.kubeconfig.write_text(Path(pool[options.name]).read_text())
        names.append(options.name)
    elif asked == ("get", "kubeconfig"):
        print(Path(pool[options.name]).read_text())
    elif asked == ("load", "image-archive"):
        assert options.archive.is_file()
    else:
        names.remove(options.name)
    (folder / "clusters.json").write_text(json.dumps(names))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kind", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    known = {
        "create": ["cluster"],
        "get": ["clusters", "kubeconfig"],
        "load": ["image-archive"],
        "delete": ["cluster"],
    }
    for verb, things in known.items():
        whats = verbs.add_parser(verb).add_subparsers(dest="what", required=True)
        for what in things:
            command = whats.add_parser(what, allow_abbrev=False)
            command.add_argument("--name")
            if what == "cluster":
                command.add_argument("--kubeconfig", type=Path, required=True)
            if verb == "create":
                command.add_argument("--config", type=Path, required=True)
                command.add_argument("--wait")
                command.add_argument("--image")
            if what == "kubeconfig":
                command.add_argument("--internal", action="store_true")
            if what == "image-archive":
                command.add_argument("archive", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
