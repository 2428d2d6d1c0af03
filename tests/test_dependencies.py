"""The dependency rule: who may import whom, and that importing regcore imports no framework."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"torch", "jax", "jaxlib", "flax", "tensorflow", "keras"}
CORE = {"regcore", "numpy", "array_api_compat"}
FOLDERS = {
    "adapters/regcore_torch": {"regcore", "regcore_torch", "torch"},
    "adapters/regcore_flax": {"regcore", "regcore_flax", "flax", "jax"},
    "adapters/regcore_keras": {"regcore", "regcore_keras", "keras", "numpy"},
}
TRAINERS = {"huggingface": "transformers", "lightning": "lightning"}  # by module, which nothing else imports


def imports(path: Path) -> set[str]:
    """Names of the top-level packages that a file imports, wherever it does, but for the standard library."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted((ROOT / "regcore").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_a_framework_only_in_its_backend(path):
    own = {path.stem.split("_")[0]} if path.parent.name == "backends" else set()
    assert imports(path) <= CORE | own


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_adapter_imports_the_core_and_its_own_framework(folder):
    files = list((ROOT / folder).glob("*.py"))
    assert files
    for file in files:
        assert imports(file) <= FOLDERS[folder] | {TRAINERS.get(file.stem)}


def test_every_adapter_has_a_rule():
    assert {f"adapters/{path.name}" for path in (ROOT / "adapters").glob("regcore_*")} == set(FOLDERS)


def test_importing_regcore_loads_no_framework():
    code = "import sys, regcore; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "regcore" in loaded
    assert not FRAMEWORKS & set(loaded)


def test_importing_an_adapter_loads_no_trainer():
    pytest.importorskip("torch", reason="torch is not installed")
    code = "import sys, regcore_torch; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {*TRAINERS.values(), "jax", "keras", "tensorflow"} & set(loaded)


def test_using_one_library_loads_no_other():
    code = "import sys, numpy, regcore; regcore.L2()(numpy.ones(3)); print(*{n.split('.')[0] for n in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not FRAMEWORKS & set(loaded)
