"""README's examples run, its table is that of the classes, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from regcore.cli import markdown
from regcore.config import own

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
NEEDS = {"torch": ["torch"], "flax": ["flax", "jax"], "keras": ["keras", "tensorflow"]}


def test_the_table_is_that_of_the_classes():
    """`regcore list --markdown` prints it."""
    rows = [f"| {' | '.join(cells)} |" for cells in markdown(own())]
    assert [line for line in README.splitlines() if line.startswith("| ")] == rows


@pytest.mark.parametrize("block", BLOCKS, ids=["numpy", "torch", "flax", "keras"])
def test_examples_run_in_five_lines(block):
    for framework, modules in NEEDS.items():
        if f"regcore_{framework}" in block:
            for module in modules:
                pytest.importorskip(module, reason=f"{module} is not installed")
    assert len(block.splitlines()) == 5
    if "keras" not in block:
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
        return
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)  # Keras warns of a lost loss
    assert done.returncode == 0, done.stderr


def test_commands_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", README + (ROOT / "docs/numerics.md").read_text()))
    assert {"demo", "test"} <= named <= targets


def test_continuous_integration_runs_what_readme_says():
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make test"


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / page).parent.joinpath(target).exists(), target
