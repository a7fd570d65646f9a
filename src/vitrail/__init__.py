"""Vitrail: train, look inside and ship vision transformers, and learn them by writing them.

    import vitrail

    model = vitrail.create_model("deit_tiny_patch16_224", pretrained=True)
    logits = model(model.preprocess("photo.jpg"))
    run = vitrail.fit(model, data="folder:PHOTOS", epochs=10)
    trace = vitrail.lens.trace_attention(run.model, model.preprocess("photo.jpg"))
    vitrail.deploy.export_onnx(run.model, "model.onnx")

Models    `create_model` and `list_models` go by name, as in timm; the classes (`ViT`, `Swin`,
          `VisionMamba`, ...) are here and in `vitrail.models`. `load` and `save` read and write.
Training  `fit`, `evaluate`, `predict` and `features` do what the commands do; `vitrail.methods`
          has the training methods, `vitrail.train` the trainer, `vitrail.data` the datasets.
Looking   `record`, `Recorder`, `Extractor`, and `vitrail.lens`: rollout, features, shapes.
Shipping  `vitrail.deploy`: fusing, precision, ONNX.
Parts     `vitrail.layers` and `vitrail.ops`; `vitrail.hub` reads other libraries' weights.
Your own  `models.register_model`, `methods.register_method`, `data.register_dataset` ... name
          parts of yours; `load_plugin` runs a file of them; `vitrail check` says whether they fit.

Every name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail import contract as contract
    from vitrail import data as data
    from vitrail import deploy as deploy
    from vitrail import explorer as explorer
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
    from vitrail.layers.inference_params import InferenceParams as InferenceParams
    from vitrail.lens.record import record as record
    from vitrail.lens.recorder import Extractor as Extractor
    from vitrail.lens.recorder import Recorder as Recorder
    from vitrail.models import CCT as CCT
    from vitrail.models import PVT as PVT
    from vitrail.models import ATSViT as ATSViT
    from vitrail.models import Backbone as Backbone
    from vitrail.models import BEiT as BEiT
    from vitrail.models import CaiT as CaiT
    from vitrail.models import CLIPViT as CLIPViT
    from vitrail.models import CrossFormer as CrossFormer
    from vitrail.models import CrossViT as CrossViT
    from vitrail.models import CvT as CvT
    from vitrail.models import DeepViT as DeepViT
    from vitrail.models import DeiT as DeiT
    from vitrail.models import EfficientViT as EfficientViT
    from vitrail.models import Features as Features
    from vitrail.models import LeViT as LeViT
    from vitrail.models import MaxViT as MaxViT
    from vitrail.models import MobileViT as MobileViT
    from vitrail.models import NaViT as NaViT
    from vitrail.models import NesT as NesT
    from vitrail.models import OfficialVisionMamba as OfficialVisionMamba
    from vitrail.models import ParallelViT as ParallelViT
    from vitrail.models import PatchMergerViT as PatchMergerViT
    from vitrail.models import PiT as PiT
    from vitrail.models import PVTv2 as PVTv2
    from vitrail.models import RegionViT as RegionViT
    from vitrail.models import ScalableViT as ScalableViT
    from vitrail.models import SepViT as SepViT
    from vitrail.models import SigLIPViT as SigLIPViT
    from vitrail.models import SimpleViT as SimpleViT
    from vitrail.models import SmallViT as SmallViT
    from vitrail.models import Swin as Swin
    from vitrail.models import T2TViT as T2TViT
    from vitrail.models import Twins as Twins
    from vitrail.models import VisionMamba as VisionMamba
    from vitrail.models import ViT as ViT
    from vitrail.models import ViViT as ViViT
    from vitrail.models import XCiT as XCiT
    from vitrail.models.registry import register_model as register_model
    from vitrail.plugins import load_plugin as load_plugin
    from vitrail.train.evaluation import evaluate as evaluate
    from vitrail.train.prediction import features as features
    from vitrail.train.prediction import predict as predict
    from vitrail.train.runs import fit as fit

__version__ = "0.1.0"
__all__ = ["__version__"]  # and the names above

lazy(__name__)
