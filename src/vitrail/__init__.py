"""Vitrail: train, look inside and ship vision transformers, and learn them by writing them.

    import vitrail

    model = vitrail.create_model("deit_tiny_patch16_224", pretrained=True)
    logits = model(model.preprocess("photo.jpg"))
    report = vitrail.fit(model, data="folder:PHOTOS", epochs=10)
    maps = vitrail.record(model, model.preprocess("photo.jpg"))
    vitrail.deploy.export_onnx(model, "model.onnx")

Models    `create_model` and `list_models` go by name, as in timm; the classes (`ViT`, `Swin`,
          `VisionMamba`, ...) are here and in `vitrail.models`. `load` and `save` read and write.
Training  `fit`, `evaluate`, `predict` and `features` do what the commands do; `vitrail.methods`
          has the training methods, `vitrail.train` the trainer, `vitrail.data` the datasets.
Looking   `record` and `vitrail.lens`: attention, rollout, features, shapes.
Shipping  `vitrail.deploy`: fusing, precision, ONNX.
Parts     `vitrail.layers` and `vitrail.ops`; `vitrail.hub` reads other libraries' weights.

Every name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail import data as data
    from vitrail import deploy as deploy
    from vitrail import hub as hub
    from vitrail import layers as layers
    from vitrail import lens as lens
    from vitrail import methods as methods
    from vitrail import models as models
    from vitrail import ops as ops
    from vitrail import train as train
    from vitrail.errors import VitrailError as VitrailError
    from vitrail.hub.load import load as load
    from vitrail.hub.method_folder import load_method as load_method
    from vitrail.hub.model_folder import save as save
    from vitrail.hub.pretrained import create_model as create_model
    from vitrail.hub.pretrained import list_models as list_models
    from vitrail.lens.record import record as record
    from vitrail.models import *  # noqa: F403
    from vitrail.train.evaluation import evaluate as evaluate
    from vitrail.train.prediction import features as features
    from vitrail.train.prediction import predict as predict
    from vitrail.train.runs import fit as fit

__version__ = "0.1.0"
__all__ = ["__version__"]  # and the names above

lazy(__name__)
