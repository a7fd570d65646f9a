"""An exported model says in onnxruntime what it says in PyTorch, at any batch size and length."""

import copy
import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import l1_unstructured, remove

import vitrail
from tests.models.small import CASES, IDS, small
from vitrail.cli.main import main
from vitrail.contract.model_case import awake
from vitrail.deploy import _exportable, export
from vitrail.deploy.export import export_onnx
from vitrail.deploy.fuse import fuse, plain_layers
from vitrail.deploy.precision import fastest, halve
from vitrail.deploy.program import export_program
from vitrail.deploy.stream import Stepper
from vitrail.errors import ConfigError, DataError, VitrailError
from vitrail.methods.mae import MAE
from vitrail.models.base import Backbone
from vitrail.models.tiers import SequenceBackbone
from vitrail.ops.selective_scan import Scan, selective_scan
from vitrail.ops.selective_scan._onnx import _softplus
from vitrail.preprocess import Preprocess

CLOSE = {"rtol": 0, "atol": 1e-5}

# Classes that export for any image size too.
ANY_SIZE = ("ViT", "SimpleViT", "DeiT", "VisionMamba")
# One with attention and one with scans; the others take minutes.
QUICK = ["ViT-mean-rope-True", "VisionMamba"]
EVERY = [
    pytest.param(*case, id=name, marks=[] if name in QUICK else pytest.mark.slow)
    for case, name in zip(CASES, IDS, strict=True)
    if case[0] in ANY_SIZE
]
OTHERS = [
    pytest.param(*case, id=name, marks=pytest.mark.slow)  # test_runtimes.py has a Swin
    for case, name in zip(CASES, IDS, strict=True)
    if case[0] not in ANY_SIZE
]

# Batches and sizes, by the axes of the images.
SIZES = {
    1: ((1, 64), (3, 8), (2, 48)),
    2: ((1, 32, 32), (3, 32, 32), (2, 48, 24), (1, 8, 8), (1, 16, 64)),
    3: ((1, 16, 16, 16), (3, 8, 24, 8)),
}


def shaken(name: str, **more: Any) -> Backbone:
    """A small model no parameter of which is at a value that hides a mistake."""
    if name in ANY_SIZE:
        more["depth"] = 2 if "pairs" in more else 1
    model = small(name, **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return awake(model)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path: Path, images: Tensor) -> Tensor:
    return torch.from_numpy(session(path).run(None, {"images": images.numpy()})[0])


@pytest.fixture
def vit(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A model that PyTorch translates only once for all tests that look elsewhere."""
    monkeypatch.setattr(export, "_translate", translated)
    return shaken("ViT")


@functools.cache
def once(*arguments: Any) -> Any:
    torch.manual_seed(0)
    return TRANSLATE(_exportable.prepare(shaken("ViT"), None, arguments[0]), *arguments)


def translated(_exportable: _exportable.Exportable, *arguments: Any) -> Any:
    return once(*arguments)


TRANSLATE = export._translate


def nodes(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_the_quick_ones_exist() -> None:
    assert set(QUICK) <= set(IDS)


@pytest.mark.parametrize(("name", "more"), EVERY)
def test_any_batch_and_any_size(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    model, path = shaken(name, **more), tmp_path / "model.onnx"
    exported = export_onnx(model, path, dynamic_size=True)
    assert exported.path == path
    assert exported.weights is None
    assert exported.inputs[:2] == ("batch", model.channels)
    assert exported.difference is not None and exported.difference <= 1e-5
    layers = sum(type(m).__name__ == "Mamba" for m in model.modules())
    # Paired layers that share their weights are one module that is run twice.
    assert nodes(path).count("Scan") == layers * (2 if more.get("share_pairs") else 1)
    for batch, *size in SIZES[len(model.image_size)]:
        images = torch.randn(batch, model.channels, *size)
        torch.testing.assert_close(run(path, images), model(images).detach(), **CLOSE)
    if model.config.get("stride") is None:  # else patches overlap, and any size will do
        with pytest.raises(Exception, match="cannot be reshaped"):
            run(path, torch.randn(1, model.channels, *(16, 30, 33)[-len(size) :]))


@pytest.mark.parametrize(("name", "more"), OTHERS)
def test_any_batch_at_one_size(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    model, path = shaken(name, **more), tmp_path / "model.onnx"
    exported = export_onnx(model, path)
    assert exported.inputs == ("batch", model.channels, *model.image_size)
    images = torch.randn(3, model.channels, *model.image_size)
    torch.testing.assert_close(run(path, images), model(images).detach(), **CLOSE)
    if not isinstance(model, SequenceBackbone):
        with pytest.raises(ConfigError, match="cannot be exported for any size"):
            export_onnx(model, path, dynamic_size=True, overwrite=True)


@pytest.mark.parametrize(
    ("name", "more"),
    [("ViT", {"antialias": True}), ("VisionMamba", {"pool": "cls_both"})],
)
def test_positions_are_resampled_before_not_in_the_graph(
    name: str, more: dict[str, Any], tmp_path: Path
) -> None:
    model, path = shaken(name, **more), tmp_path / "model.onnx"
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert export_onnx(model, path, image_size=(48, 24)).inputs == ("batch", 3, 48, 24)
    images = torch.randn(3, 3, 48, 24)
    torch.testing.assert_close(run(path, images), model(images).detach(), **CLOSE)
    assert "Resize" not in nodes(path)
    assert model.grid == (4, 4)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_rotation_keeps_the_grid_it_was_trained_on(tmp_path: Path) -> None:
    model, path = shaken("ViT", position="rope"), tmp_path / "model.onnx"
    export_onnx(model, path, image_size=48)
    images = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(run(path, images), model(images).detach(), **CLOSE)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    model, path = shaken("ViT"), tmp_path / "model.onnx"
    model.labels, model.origin = ["chat", "chien", "été", "d", "e"], "somewhere"
    model.preprocess = Preprocess(size=(48, 48), resize=50)
    before = torch.get_rng_state()
    assert export_onnx(model.double().train(), path).inputs == ("batch", 3, 48, 48)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training and next(model.parameters()).dtype == torch.float64
    metadata = session(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == model.labels
    assert Preprocess.from_dict(json.loads(metadata["preprocess"])) == model.preprocess
    about = json.loads(metadata["vitrail"])
    assert (about["architecture"], about["origin"]) == ("ViT", "somewhere")
    assert small("ViT", **about["keywords"]).config == model.config
    model.reset_head(0)
    with torch.autocast("cpu"):
        export_onnx(model, path, image_size=32, opset=18, overwrite=True)
    assert [o.name for o in session(path).get_outputs()] == ["features"]
    graph = onnx.load(path)
    assert [o.version for o in graph.opset_import if not o.domain] == [18]
    metadata = session(path).get_modelmeta().custom_metadata_map
    assert Preprocess.from_dict(json.loads(metadata["preprocess"])) == model.preprocess.at((32, 32))
    assert str(Path(vitrail.__file__).parent).encode() not in path.read_bytes()


def test_weights_too_large_for_one_file(
    vit: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = vit, tmp_path / "new" / "model.onnx"
    monkeypatch.setattr(export, "LARGEST", 1000)
    export_onnx(model, path)
    exported = export_onnx(model, path, overwrite=True)
    assert exported.weights is not None
    assert sorted(path.parent.iterdir()) == [path, exported.weights]  # the older weights are gone
    assert path.stat().st_size < exported.weights.stat().st_size
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(run(path, images), model(images).detach(), **CLOSE)

    monkeypatch.setattr(_exportable, "TOLERANCE", -1.0)
    with pytest.raises(VitrailError, match="nothing was written"):
        export_onnx(model, path, overwrite=True)
    assert sorted(path.parent.iterdir()) == [path, exported.weights]
    monkeypatch.setattr(_exportable, "TOLERANCE", 1e-4)
    monkeypatch.setattr(export, "LARGEST", 1_000_000)
    export_onnx(model, path, overwrite=True)
    assert sorted(path.parent.iterdir()) == [path]


def test_what_cannot_be_exported(
    vit: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = vit, tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match="opset=17 is not within 18 to 23"):
        export_onnx(model, path, opset=17)
    with pytest.raises(DataError, match="30 x 30 pixels does not divide .* resize it to 32 x 32"):
        export_onnx(model, path, image_size=30)
    with pytest.raises(ConfigError, match="bfloat16"):
        export_onnx(halve(model), path)

    def fails(*_: Any, **__: Any) -> None:
        try:
            raise KeyError("aten::new\nand more")
        except KeyError as cause:
            raise torch.onnx.errors.OnnxExporterError("long story") from cause

    with monkeypatch.context() as patch:
        patch.setattr(torch.onnx, "export", fails)
        with pytest.raises(ConfigError, match=r"this ViT: KeyError.*Export one file") as problem:
            export_onnx(model, path, dynamic_size=True)
        assert "\n" not in str(problem.value)
    with monkeypatch.context() as patch:
        patch.setattr(_exportable, "TOLERANCE", -1.0)
        with pytest.raises(VitrailError, match="from PyTorch's, and .* nothing was written"):
            export_onnx(model, path)
    with torch.no_grad():
        model.norm.weight[0] = torch.nan
    with pytest.raises(VitrailError, match="not finite"):
        export_onnx(model, path)
    assert not list(tmp_path.iterdir())


@torch.no_grad()
def test_a_changed_model_is_exported_as_it_is(tmp_path: Path) -> None:
    model: Any = small("ViT", depth=1)
    model.head = nn.Sequential(nn.Linear(32, 6), nn.ReLU(), nn.Linear(6, 9))
    nn.utils.parametrizations.weight_norm(model.blocks[0].mlp.fc1)
    path = export_onnx(model, tmp_path / "m.onnx").path
    images = torch.randn(3, 3, *model.image_size)
    logits = onnxruntime.InferenceSession(path).run(None, {"images": images.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(logits), model(images), **CLOSE)
    model.labels = list("abcde")
    with pytest.raises(ConfigError, match="has 5 labels and 9 outputs: set model.labels"):
        export_onnx(model, tmp_path / "n.onnx")
    model.labels = None
    with pytest.raises(ConfigError, match="so that no other model can be made from it"):
        export_onnx(model, tmp_path / "n.onnx", image_size=64)


def test_a_pruned_model_is_not_copied(tmp_path: Path) -> None:
    model: Any = small("ViT", depth=1)
    l1_unstructured(model.head, "weight", 0.5)
    for change in (fuse, plain_layers, lambda m: export_onnx(m, tmp_path / "m.onnx")):
        with pytest.raises(ConfigError, match="head.weight is computed from other weights"):
            change(model)
    remove(model.head, "weight")
    assert fuse(model).head.weight.eq(0).sum() >= model.head.weight.numel() // 2


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(
    vit: Backbone, tmp_path: Path
) -> None:
    for export_to, path in (
        (export_onnx, tmp_path / "model.onnx"),
        (export_program, tmp_path / "model.pt2"),
    ):
        path.write_text("mine")
        with pytest.raises(ConfigError, match=f"{path.name} exists: .*by overwrite=True"):
            export_to(vit, path)
        assert path.read_text() == "mine"
    onnx_file = tmp_path / "model.onnx"
    export_onnx(vit, onnx_file, overwrite=True)
    assert session(onnx_file)
    link = tmp_path / "link.onnx"
    link.symlink_to("nowhere")  # whose name another file would take
    with pytest.raises(ConfigError, match="link.onnx exists"):
        export_onnx(vit, link)


def test_packages_that_are_missing(
    vit: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = vit, tmp_path / "model.onnx"

    def without(name: str) -> Callable[[str], object]:
        found = importlib.util.find_spec
        return lambda wanted: None if wanted == name else found(wanted)

    monkeypatch.setattr(export, "find_spec", without("onnxscript"))
    with pytest.raises(ConfigError, match="package onnxscript: pip install onnxscript"):
        export_onnx(model, path)
    monkeypatch.setattr(export, "find_spec", without("onnxruntime"))
    assert export_onnx(model, path).difference is None
    assert path.is_file()


def wrong(model: Any) -> dict[str, tuple[Callable[[], object], str]]:
    """Calls with a wrong argument, and what the error says."""
    onnx_file, images = "model.onnx", torch.zeros(1, 3, 32, 32)
    features = model.embed(images)
    return {
        "layer": (lambda: export_onnx(nn.Linear(3, 3), onnx_file), "Linear is no model of"),
        "name": (lambda: export_onnx("vit", onnx_file), "model='vit' is not"),
        "method": (lambda: export_onnx(MAE(model), onnx_file), "give method.backbone"),
        "opset": (lambda: export_onnx(model, onnx_file, opset="20"), "opset='20' is not"),
        "folder": (lambda: export_onnx(model, "."), "is a folder: give the file"),
        "below a file": (lambda: export_onnx(model, "file/a.onnx"), "file is a file"),
        "no path": (lambda: export_onnx(model, None), "path=None is not"),
        "negative": (lambda: export_onnx(model, onnx_file, image_size=-8), "image_size=-8 is"),
        "huge": (lambda: export_onnx(model, onnx_file, image_size=8 * 10**6), "needs more memory"),
        "text": (lambda: export_onnx(model, onnx_file, image_size="32"), "image_size='32' is"),
        "axes": (lambda: export_onnx(model, onnx_file, image_size=(8, 8, 8)), r"size \(8, 8, 8\)"),
        "no bool": (lambda: export_onnx(model, onnx_file, dynamic_size="no"), "dynamic_size='no'"),
        "no weights": (lambda: export_onnx(copy.deepcopy(model).to("meta"), onnx_file), "meta"),
        "fuse": (lambda: fuse("vit"), "model='vit' is not a Module"),
        "plain layers": (lambda: plain_layers({}), "model={} is not a Module"),
        "halve": (lambda: halve(MAE(model)), "model=<MAE> is not a Backbone"),
        "fastest": (lambda: fastest(nn.Linear(3, 3), images), "is not a Backbone"),
        "rounds": (lambda: fastest(model, images, rounds=0), "rounds=0 is not"),
        "steps": (lambda: Stepper(model, features), "model=<ViT> is not a VisionMamba"),
    }


def test_wrong_arguments_are_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr(export, "_translate", None)
    for name, (call, message) in wrong(small("ViT")).items():
        with pytest.raises(ConfigError, match=message) as problem:
            call()
        assert "\n" not in str(problem.value), name
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class Scanned(nn.Module):
    """A scan in both directions whose inputs are the graph's."""

    def forward(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor,
        z: Tensor,
    ) -> Tensor:  # fmt: skip
        """As `Scan`."""
        return selective_scan(Scan(u, delta, A, B, C, D, bias, z), [False, True])


def inputs(directions: int, batch: int, length: int, dim: int = 6, states: int = 4) -> Scan:
    signal, enter = (directions, batch, length, dim), (directions, batch, length, states)
    return Scan(
        u=torch.randn(signal),
        delta=torch.randn(signal),
        A=-torch.rand(directions, dim, states) * states,
        B=torch.randn(enter),
        C=torch.randn(enter),
        D=torch.randn(directions, dim),
        bias=torch.randn(directions, dim) - 3,
        z=torch.randn(batch, length, dim),
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*axis name.*:UserWarning")
def test_the_scan_is_one_node_of_any_batch_and_length(tmp_path: Path) -> None:
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=2)
    tokens, fixed = {1: batch, 2: length}, None
    shapes = (tokens, tokens, fixed, tokens, tokens, fixed, fixed, {0: batch, 1: length})
    names, path = list(Scan._fields), tmp_path / "scan.onnx"
    torch.onnx.export(
        Scanned().eval(), tuple(inputs(2, 2, 7)), path, dynamic_shapes=shapes, input_names=names,
        external_data=False, verbose=False,
    )  # fmt: skip
    assert nodes(path).count("Scan") == 1
    for batch_size, tokens_seen in ((1, 1), (3, 7), (2, 150)):
        scan = inputs(2, batch_size, tokens_seen)
        found = session(path).run(None, {n: t.numpy() for n, t in scan._asdict().items()})[0]
        exact = Scan(*(t.double() for t in scan))
        expected = selective_scan(exact, [False, True], "reference").float()
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("reverse", [[False], [True], [False, True], [True, False]])
def test_the_scan_is_the_reference(reverse: list[bool]) -> None:
    scan = Scan(*(t.double() for t in inputs(len(reverse), 2, 9)))
    for case in (scan, scan._replace(z=None)):
        expected = selective_scan(case, reverse, "reference")
        torch.testing.assert_close(
            selective_scan(case, reverse, "export"), expected, rtol=0, atol=1e-12
        )
    scan.u.requires_grad = True
    with pytest.raises(ConfigError, match='backend="export" has no gradient'):
        selective_scan(scan, reverse, "export")


def test_the_softplus_keeps_small_steps_exact() -> None:
    x = torch.linspace(-80, 80, 40_001)
    exact = torch.nn.functional.softplus(x.double(), threshold=100).float()
    torch.testing.assert_close(_softplus(x), exact, rtol=3e-7, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_without_onnx_an_export_keeps_the_operator() -> None:
    model = shaken("VisionMamba")
    graph = torch.export.export(model, (torch.randn(2, 3, 32, 32),)).graph
    assert torch.ops.vitrail.selective_scan.default in [node.target for node in graph.nodes]


def test_the_command(
    vit: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = vit
    model.preprocess, model.labels = Preprocess(size=(32, 32), resize=32), list("abcde")
    vitrail.save(model, tmp_path / "pets.v2")

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vitrail", "export", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    code, output, _ = command("pets.v2")
    assert code == 0
    assert "written: pets.v2.onnx (" in output
    assert "input: images, float32, batch x 3 x 32 x 32" in output
    assert "checked: the file's logits are within" in output
    images = torch.randn(2, 3, 32, 32)
    logits = run(tmp_path / "pets.v2.onnx", images)
    torch.testing.assert_close(logits, model(images).detach(), **CLOSE)

    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in (
        (("pets.v2", "folder.onnx"), "folder.onnx is a folder: give the file to write in it"),
        (("pets.v2.onnx", "x.onnx"), "is an exported file, which other programs run: name the run"),
        (("pets.v2",), "pets.v2.onnx exists: choose another name, or overwrite it by"),
        (("pets.v2", "out"), "out does not end in .onnx or .pt2"),
        (("pets.v2", "x.onnx", "--image-size", "30"), "resize it to 32 x 32"),
        (("pets.v2", "x.onnx", "--opset", "99"), "opset=99 is not within 18 to 23"),
        (("nowhere", "x.onnx"), "no folder 'nowhere'"),
    ):
        code, _, errors = command(*arguments)
        assert (code, errors.count("\n")) == (2, 1)
        assert message in errors
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert command("pets.v2", "~/a name.onnx")[0] == 0
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["a name.onnx"]
    assert export_onnx(model, "~/b.onnx").path == tmp_path / "home" / "b.onnx"
    code, output, _ = command("pets.v2", "--force", "--dynamic-size")
    assert code == 0
    assert "batch x 3 x 8*rows x 8*columns" in output


@pytest.mark.slow
def test_the_real_vision_mamba(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path = vitrail.create_model("vim_tiny").eval(), tmp_path / "vim_tiny.onnx"
    export_onnx(model, path, dynamic_size=True)
    assert nodes(path).count("Scan") == 24
    for batch, size in ((1, 224), (3, 224), (1, 320)):
        images = torch.randn(batch, 3, size, size)
        with torch.no_grad():
            expected = model(images)
        torch.testing.assert_close(run(path, images), expected, rtol=0, atol=1e-4)
