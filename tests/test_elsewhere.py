"""The page on other libraries: each call of theirs that it names exists, and so does ours."""

import ast
import importlib.metadata
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import parity as parity  # before vit_pytorch
import vitrail
from tests.pages import ROOT, blocks
from vitrail import methods
from vitrail.errors import ConfigError
from vitrail.models.registry import variants
from vitrail.other_names import DONE_OTHERWISE

PAGES = ("docs/en/coming_from_elsewhere.md", "docs/zh/coming_from_elsewhere.md")
ENGLISH = (ROOT / PAGES[0]).read_text("utf-8")
METADATA = importlib.metadata.distribution("vit-pytorch").read_text("METADATA") or ""
README = dict(enumerate(re.findall(r"^```python\n(.*?)^```", METADATA, re.S | re.M), start=1))
SCALE = {
    224: 64,
    448: 64,
    1024: 64,
    2048: 64,
    384: 48,
    65336: 64,
    65536: 64,
}  # sizes of theirs, on the CPU
NEEDS_VALUES = {3, 4, 5, 9, 11, 12, 25, 28, 30, 37, 41, 42}  # theirs do not run on the meta device
BEFORE = {4: 3, 7: 6, 44: 43, 48: 47, 49: 47}  # a block that goes on from another
OURS = {  # what is called there as printed
    "NaViT": vitrail.NaViT,
    "DistillableViT": vitrail.DeiT,
    "DistillWrapper": methods.Distill,
    "SimMIM": methods.SimMIM,
    "MAE": methods.MAE,
    "MPP": methods.MPP,
    "MP3": methods.MP3,
    "Dino": methods.DINO,
    "EsViTTrainer": methods.DINO,
    "Adapter": methods.LearnableMemory,
    "Recorder": vitrail.Recorder,
    "Extractor": vitrail.Extractor,
    "JetViT": vitrail.EfficientViT,
}
FAILS = {26: RuntimeError, 27: RuntimeError, 28: RuntimeError, 38: ImportError}  # as printed
AS_PRINTED = {32, 34, 46}  # the page's code has the README's sizes
NOT_INSTALLED = {52}  # x_transformers


class Row(NamedTuple):
    """A line of the table of models: a call there, with the keywords that differ, and ours."""

    number: int
    theirs: ast.Call
    ours: ast.Call


def call(text: str) -> ast.Call:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    return node


def keywords(node: ast.Call) -> dict[str, ast.expr]:
    return {str(k.arg): k.value for k in node.keywords}


def shapes(result: Any) -> Any:
    """The shape of a tensor, or those of several."""
    return [shapes(part) for part in result] if isinstance(result, tuple) else result.shape


def table_rows(text: str) -> list[Row]:
    lines = re.findall(r"^\| (\d+) \| [^|`]+ \| `([^`]+)` \| `([^`]+)` \|$", text, re.M)
    return [Row(int(number), call(theirs), call(ours)) for number, theirs, ours in lines]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


RESULTS = {
    "preds",
    "pred",
    "out",
    "logits",
    "loss",
    "tokens",
    "attns",
    "embeddings",
    "logits1",
    "logits2",
}
PREAMBLE = next(code for code in blocks(PAGES[0], "python") if "small = {" in code)
ROWS = table_rows(ENGLISH)
CODE = {
    tuple(numbers(head)): code
    for code in blocks(PAGES[0], "python")
    if (match := re.match(r"# README ([\d, ]+):", code)) and (head := match[1])
}
REASONS = [n for cell in re.findall(r"^\| ([\d, ]+) \| `[^`]+` \| [^`]", ENGLISH, re.M)
           for n in numbers(cell)]  # fmt: skip


def test_every_block_of_the_readme_is_on_the_page_once() -> None:
    assert len(README) == 54
    with_code = [n for key in CODE for n in key]
    assert sorted([row.number for row in ROWS] + with_code + REASONS) == sorted(README)
    assert len(REASONS) <= 4


def test_both_languages_have_the_same_calls() -> None:
    english, chinese = ((ROOT / page).read_text("utf-8") for page in PAGES)
    cells = [re.findall(r"^\|.*?(`.+`) \|", text, re.M) for text in (english, chinese)]
    assert cells[0] == cells[1]
    code = [re.sub(r"\s*#.*", "", "\n".join(blocks(page, "python"))) for page in PAGES]
    assert code[0] == code[1]


class Smaller(ast.NodeTransformer):
    """A block of the README with other sizes of models."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def visit_Call(self, node: ast.Call) -> Any:
        if any(keyword.arg == "image_size" for keyword in node.keywords):  # of a model
            for keyword in node.keywords:
                if keyword.arg in self.values:
                    keyword.value = ast.Constant(self.values[keyword.arg])
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(
            SCALE.get(node.value, node.value) if type(node.value) is int else node.value
        )


def run_theirs(number: int, small: dict[str, Any] | None = None, **names: Any) -> dict[str, Any]:
    """The names that a block of the README defines.

    Args:
        number: of the block.
        small: keywords that get other values, on the CPU. None: as printed, on the meta device if
            it runs there, and else on the CPU with narrower models.
        **names: what the block sees; `images` and `labels` take the place of its own.
    """
    code = README.get(BEFORE.get(number, 0), "") + README[number]
    code = re.sub(r"range\(10+\)", "range(1)", code)
    code = code.replace("resnet50(pretrained = True)", "resnet50(num_classes = num_classes)")
    code = code.replace("(5, 1000)", "(5, num_classes)")
    if small is not None:
        code = re.sub(
            r"torch.(randn|FloatTensor)\(\d+, 3, (256|224), \2\)(\.uniform_\(.*?\))?",
            "images",
            code,
        )
        code = re.sub(r"torch.randint\(.*?\)\)", "labels", code)
        code = re.sub(r"torch.randn\(3, (\d+), (\d+)\)", r"torch.randn(3, \1 // 8, \2 // 8)", code)
    on_cpu = small is not None or number in NEEDS_VALUES
    tree: Any = ast.parse(code)
    if on_cpu:
        tree = ast.fix_missing_locations(Smaller(small or {}).visit(tree))
    names.setdefault("num_classes", 1000)
    with torch.device("cpu" if on_cpu else "meta"):
        exec(compile(tree, f"block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_models(row: Row) -> None:
    tree = ast.parse(README[row.number])
    (full,) = (
        node for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.dump(node.func) == ast.dump(row.theirs.func)
    )  # fmt: skip
    same = keywords(full)
    for keyword, value in keywords(row.theirs).items():
        assert ast.dump(same.pop(keyword)) == ast.dump(value), keyword
    inputs = [
        ast.unparse(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("img", "video")
    ]  # fmt: skip
    ours = {**same, **keywords(row.ours)}
    with torch.device("meta"):
        positional = [ast.literal_eval(argument) for argument in row.ours.args]
        values = {keyword: ast.literal_eval(value) for keyword, value in ours.items()}
        model = getattr(vitrail, ast.unparse(row.ours.func))(*positional, **values).eval()
        image = eval(inputs[0] if inputs else "torch.randn(1, 3, 224, 224)")
        logits = model(image)
    assert logits.shape == (len(image), 1000)
    if row.number not in FAILS:
        theirs = run_theirs(row.number)
        for result in RESULTS & theirs.keys():
            assert logits.shape == theirs[result].shape


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
@pytest.mark.parametrize("numbers", CODE, ids=str)
def test_pieces_and_wrappers(
    numbers: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(PREAMBLE, names)
    small, images, labels = names["small"], names["images"], names["labels"]
    exec(CODE[numbers], names)
    sizes = None if AS_PRINTED & {*numbers} else {**small, "window_size": 2}
    for number in {*numbers} - {*FAILS, *NOT_INSTALLED}:
        theirs = run_theirs(number, sizes, images=images, labels=labels, num_classes=10)
        for result in RESULTS & theirs.keys():
            assert shapes(names[result]) == shapes(theirs[result]), result


@pytest.mark.parametrize("number", FAILS)
def test_blocks_that_fail_as_printed(number: int) -> None:
    with pytest.raises(FAILS[number]):
        run_theirs(number, {}, images=torch.randn(2, 3, 256, 256))


def hint(owner: Any, keyword: str) -> str:
    """What the error about a keyword says, up to the list of all keywords."""
    with pytest.raises(ConfigError) as error:
        owner(**{keyword: 1})
    return str(error.value).partition(" It takes:")[0].partition(f"{keyword!r}.")[2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_an_error_says_what_a_keyword_is_called_here(row: Row) -> None:
    function = getattr(vitrail, ast.unparse(row.ours.func))
    keywords_here = keywords(row.ours).keys()
    if function is vitrail.create_model:
        model, variant = variants()[ast.literal_eval(row.ours.args[0])]
        function, keywords_here = model, keywords_here | variant.keywords.keys()
    for keyword in keywords(row.theirs).keys() - inspect.signature(function).parameters.keys():
        text = hint(function, keyword)
        is_sentence = text.strip() == DONE_OTHERWISE.get(re.sub(r"^s\d_", "", keyword))
        assert is_sentence or keywords_here & set(re.findall(r"\w+", text)), (keyword, text)


@pytest.mark.parametrize("number", [n for key in CODE for n in key if n not in (32, 34)])
def test_an_error_says_what_a_keyword_of_a_method_is_called_here(number: int) -> None:
    for node in ast.walk(ast.parse(README[number])):
        owner = OURS.get(ast.unparse(node.func)) if isinstance(node, ast.Call) else None
        if owner is None:
            continue
        for keyword in keywords(node).keys() - inspect.signature(owner).parameters.keys():
            text = hint(owner, keyword)
            assert text and "Did you mean" not in text, keyword
