"""The Python blocks of docs pages run, one after the other."""

import pathlib
import re

import pytest

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["pytorch.md"])
def test_page(page):
    pytest.importorskip("torch", reason="torch is not installed")
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    names = {"__name__": page}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
