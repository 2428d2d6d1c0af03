"""Packages of others, as an installer leaves them."""

import textwrap
from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, group: str, entry_points: Mapping[str, str], code: str) -> None:
    """A module, and metadata with entry points of a group."""
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{entry} = {target}" for entry, target in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
