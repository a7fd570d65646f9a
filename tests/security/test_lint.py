"""No line of the package runs what it reads; calls that could are listed with their reason."""

import ast
from collections.abc import Iterator

import pytest

from tools.source import sources

ALLOWED = {  # (file, call): reason
    ("ops/_simd.py", "exec"): "writes a kernel's own signature, from names in the source",
    ("learn/checker/modules.py", "exec"): "the learner's own file, in a process of its own",
    ("learn/checker/modules.py", "compile"): "the same",
    ("learn/checker/subject.py", "exec"): "the same",
    ("learn/checker/subject.py", "compile"): "the same",
    ("contract/parts.py", "pickle.loads"): "of what it pickled itself",
    ("data/cifar.py", "pickle.Unpickler"): "a subclass that imports nothing",
    ("hub/torchscript.py", "pickle.Unpickler"): "a subclass that imports nothing",
    ("foreign.py", "yaml.load"): "with a safe loader, after its events were checked",
}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
    "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "joblib.load",
    "pandas.read_pickle", "yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.unsafe_load",
    "torch.jit.load", "torch.hub.load",
}  # fmt: skip
NEEDED = {  # keyword that a call must have, with its value
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "from_pretrained": ("trust_remote_code", False),
    "load_dataset": ("trust_remote_code", False),
}


def dangers(tree: ast.Module) -> Iterator[str]:
    """Every use of a forbidden name, and every call that lacks a needed keyword."""
    for node in ast.walk(tree):
        names = [node.func] if isinstance(node, ast.Call) else []
        names += node.bases if isinstance(node, ast.ClassDef) else []
        yield from (name for name in map(ast.unparse, names) if name in FORBIDDEN)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in node.keywords):
            yield f"{name} with a shell"
        for key in {name, name.rpartition(".")[2]} & NEEDED.keys():
            keyword, value = NEEDED[key]
            if not any(
                k.arg == keyword and ast.unparse(k.value) == str(value) for k in node.keywords
            ):
                yield f"{name} without {keyword}={value}"
        if name.endswith(("safe_globals", "add_safe_globals")) and node.args:
            if ast.unparse(node.args[0]) != "[argparse.Namespace]":
                yield f"{name} of more than argparse.Namespace"


def test_nothing_that_is_read_runs() -> None:
    uses = {(source.file, danger) for source in sources() for danger in dangers(source.tree)}
    assert uses - ALLOWED.keys() == set()
    assert ALLOWED.keys() - uses == set(), "these exceptions are no longer needed"


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(file)", "torch.load(file, weights_only=False)", "eval(text)", "exec(text)",
        "pickle.load(file)", "class A(pickle.Unpickler): ...", "yaml.load(text, yaml.Loader)",
        "np.load(file, allow_pickle=True)", "np.load(file)", "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(name)", "datasets.load_dataset(name, trust_remote_code=True)",
        "torch.serialization.safe_globals([argparse.Namespace, set])",
    ],
)  # fmt: skip
def test_the_lint_sees(line: str) -> None:
    assert list(dangers(ast.parse(line)))
