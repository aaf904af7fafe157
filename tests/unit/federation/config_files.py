"""Configuration files that tests write."""

import textwrap
from pathlib import Path


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return path
