"""Other runtimes run the files, and onnxruntime's own quantizers make them int8."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import vitrail
from vitrail.deploy import export_onnx, export_program
from vitrail.errors import ConfigError
from vitrail.models.base import Backbone

CLOSE = {"rtol": 0, "atol": 1e-5}
Exports = dict[str, tuple[Backbone, Path]]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """A sequence, a pyramid, and a Vision Mamba of published width, whose A is not small."""
    torch.manual_seed(0)
    models: dict[str, Backbone] = {
        "ViT": vitrail.ViT(16, 8, num_classes=3, dim=96, depth=1, heads=3, mlp_dim=192),
        "Swin": vitrail.Swin(16, 2, 3, dim=(32, 64), depth=(1, 1), heads=(1, 2), window=4),
        "VisionMamba": vitrail.VisionMamba(16, 8, num_classes=3, dim=192, depth=1),
    }
    folder = tmp_path_factory.mktemp("exports")
    for name, model in models.items():
        with torch.no_grad():  # initial weights tell few images apart, which int8 cannot show
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        export_onnx(model.eval(), folder / f"{name}.onnx")
    return {name: (model, folder / f"{name}.onnx") for name, model in models.items()}


def run(path: Path, images: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def images(batch: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def error(outputs: Tensor, expected: Tensor) -> float:
    return float((outputs - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", ["ViT", "Swin", "VisionMamba"])
def test_int8_weights(name: str, exports: Exports, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    model, path = exports[name]
    small = tmp_path / "int8.onnx"
    quantization.quantize_dynamic(path, small, weight_type=quantization.QuantType.QInt8)
    assert small.stat().st_size < 0.6 * path.stat().st_size
    assert 0 < error(run(small, images(3)), model(images(3)).detach()) < 0.05


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", ["ViT", "Swin", "VisionMamba"])
def test_int8_weights_and_activations(
    name: str, per_channel: bool, exports: Exports, tmp_path: Path
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    model, path = exports[name]

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]
        batches = iter([{"images": images(4, seed).numpy()} for seed in range(1, 5)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    small = tmp_path / "int8.onnx"
    quantization.quantize_static(
        path, small, Calibration(), per_channel=per_channel,
        reduce_range=True,  # sums of products overflow on processors without VNNI
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
    )  # fmt: skip
    assert small.stat().st_size < 0.6 * path.stat().st_size
    assert 0 < error(run(small, images(3)), model(images(3)).detach()) < 0.1


def test_scans_read_constants_only(exports: Exports) -> None:
    graph = onnx.load(exports["VisionMamba"][1]).graph
    scans = [node for node in graph.node if node.op_type == "Scan"]
    assert len(scans) == 1
    body = next(a.g for a in scans[0].attribute if a.name == "body")
    own = {value.name for value in (*body.input, *body.initializer)}
    own |= {name for node in body.node for name in node.output}
    captured = {name for node in body.node for name in node.input} - own
    assert captured
    assert captured <= {tensor.name for tensor in graph.initializer}  # for OpenVINO
    assert not {"TopK", "Loop", "If", "NonZero"} & {node.op_type for node in graph.node}
    # onnxconverter_common, which makes files float16, leaves the float32 of such a node.
    sources = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    assert all(node.attribute[0].t.data_type == onnx.TensorProto.INT64 for node in sources)


@pytest.mark.parametrize("name", ["ViT", "Swin", "VisionMamba"])
def test_in_openvino(name: str, exports: Exports) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    model, path = exports[name]
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for batch in (1, 3):
        outputs = torch.from_numpy(compiled(images(batch).numpy())[0])
        torch.testing.assert_close(outputs, model(images(batch)).detach(), **CLOSE)


@pytest.mark.filterwarnings("ignore")  # of ExecuTorch's own code
@pytest.mark.parametrize("name", ["ViT", "VisionMamba"])
def test_in_executorch(name: str, exports: Exports, tmp_path: Path) -> None:
    """ExecuTorch reserves the memory of the example's batch, so the batch is fixed."""
    exir = pytest.importorskip("executorch.exir", reason="ExecuTorch is not installed")
    xnnpack = pytest.importorskip("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    runtime = pytest.importorskip("executorch.runtime").Runtime.get()
    model = exports[name][0]
    export_program(model, tmp_path / "model.pt2", batch_size=1)
    lowered = exir.to_edge_transform_and_lower(
        torch.export.load(tmp_path / "model.pt2"), partitioner=[xnnpack.XnnpackPartitioner()]
    )
    (tmp_path / "model.pte").write_bytes(lowered.to_executorch().buffer)
    method = runtime.load_program(tmp_path / "model.pte").load_method("forward")
    outputs = method.execute([images(1)])[0]
    torch.testing.assert_close(outputs, model(images(1)).detach(), **CLOSE)


def test_a_batch_of_one_size(exports: Exports, tmp_path: Path) -> None:
    model = exports["ViT"][0]
    for batch in (1, 4):
        program = export_program(model, tmp_path / f"model{batch}.pt2", batch_size=batch)
        assert program.inputs == (batch, 3, 16, 16)
        outputs = torch.export.load(program.path).module()(images(batch))
        torch.testing.assert_close(outputs, model(images(batch)).detach(), **CLOSE)
    with pytest.raises(ConfigError, match="batch_size=0 is"):
        export_program(model, tmp_path / "model.pt2", batch_size=0)
    exported = export_onnx(model, tmp_path / "model.onnx", batch_size=2)
    assert exported.inputs == (2, 3, 16, 16)
    assert exported.difference is not None and exported.difference < 1e-5
