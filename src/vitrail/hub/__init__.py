"""Weights in and out: Vitrail's own folders, and those of timm, transformers and the Hub."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.hub.convert import convert as convert
    from vitrail.hub.converters.vision_mamba import from_official as from_official
    from vitrail.hub.converters.vision_mamba import official_state_dict as official_state_dict
    from vitrail.hub.for_transformers import ForImageClassification as ForImageClassification
    from vitrail.hub.load import load as load
    from vitrail.hub.method_folder import load_method as load_method
    from vitrail.hub.method_folder import save_method as save_method
    from vitrail.hub.model_folder import save as save
    from vitrail.hub.pretrained import create_model as create_model
    from vitrail.hub.pretrained import list_models as list_models

lazy(__name__)
