"""Models of other packages, regularized in at most three lines: every example runs, learns, and has exact gradients."""

import ast
import importlib
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "embedding"
DOUBLE, SINGLE = 1e-12, 1e-5

EXAMPLES = {  # the packages that each needs, and how exact its gradients can be
    "equinox_mlp": ("equinox optax", DOUBLE),
    "flax_transformer": ("flax optax", DOUBLE),
    "keras_application": ("keras", SINGLE),  # run by keras_suite_embedding.py
    "lightning_module": ("lightning", DOUBLE),
    "lstm_language_model": ("torch", DOUBLE),
    "mixture_of_experts": ("transformers", SINGLE),  # its norms and its loss are float32 in any case
    "sparse_autoencoder": ("torch", DOUBLE),
    "transformers_decoder": ("transformers", DOUBLE),
    "transformers_encoder": ("transformers", DOUBLE),
}
SHARED = {"__init__", "data", "outcome", "torch_training"}


def outcome(name):
    for package in (*EXAMPLES[name][0].split(), "sklearn"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    return importlib.import_module(f"examples.embedding.{name}").main(steps=3)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")  # what Lightning does by itself
@pytest.mark.filterwarnings("ignore:.*(many workers|logging interval|litlogger).*")  # and advises
@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"keras_application"}))
def test_it_learns_and_its_gradients_are_those_written_by_hand(name):
    found = outcome(name)
    assert found.losses[-1] < found.losses[0]
    assert found.terms
    assert all(value > 0.0 for value in found.terms.values())
    assert found.difference <= EXAMPLES[name][1]


def test_every_file_is_an_example_or_shared():
    assert {path.stem for path in FOLDER.glob("*.py")} == EXAMPLES.keys() | SHARED


def imports(tree):
    return {node.lineno: node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_three_lines_beside_the_imports(name):
    source = (FOLDER / f"{name}.py").read_text()
    lines = source.splitlines()
    assert len(lines) < 80
    added = [number for number, line in enumerate(lines, 1) if line.endswith("# +")]
    assert 1 <= len(added) <= 3
    imported = {number for number, line in enumerate(lines, 1) if line.endswith("# + import")}
    nodes = imports(ast.parse(source))
    ours = {number for number in nodes if "regcore" in ast.unparse(nodes[number])}
    assert imported == ours


READS = ("regcore_flax.values", "regcore_keras.report")  # for the table that the example prints


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_all_that_regcore_does_is_in_the_marked_lines(name):
    source = (FOLDER / f"{name}.py").read_text()
    marked = {number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# +")}
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [(call.lineno, ast.unparse(call.func)) for call in calls]
    ours = {
        at
        for at, called in names
        if called.startswith(("regcore", "Regularizer")) and called.split("(")[0] not in READS
    }
    ours |= {at for at, called in names if called in ("SPEC", "reg.combine", "self.reg.combine")}
    assert ours <= marked


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_hand_written_version_has_nothing_of_ours(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    (by_hand,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "by_hand")
    names = {node.id for node in ast.walk(by_hand) if isinstance(node, ast.Name)}
    assert not names & {"regcore", "regcore_torch", "regcore_flax", "regcore_keras", "RULES", "SPEC"}
