"""Models, one paper a file."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.models.ats_vit import ATSViT as ATSViT
    from vitrail.models.base import Backbone as Backbone
    from vitrail.models.base import Variant as Variant
    from vitrail.models.beit import BEiT as BEiT
    from vitrail.models.cait import CaiT as CaiT
    from vitrail.models.cct import CCT as CCT
    from vitrail.models.clip_vit import CLIPViT as CLIPViT
    from vitrail.models.cross_former import CrossFormer as CrossFormer
    from vitrail.models.cross_vit import CrossViT as CrossViT
    from vitrail.models.cvt import CvT as CvT
    from vitrail.models.deepvit import DeepViT as DeepViT
    from vitrail.models.deit import DeiT as DeiT
    from vitrail.models.efficient_vit import EfficientViT as EfficientViT
    from vitrail.models.features import Features as Features
    from vitrail.models.levit import LeViT as LeViT
    from vitrail.models.max_vit import MaxViT as MaxViT
    from vitrail.models.mobile_vit import MobileViT as MobileViT
    from vitrail.models.navit import NaViT as NaViT
    from vitrail.models.nest import NesT as NesT
    from vitrail.models.paper import Paper as Paper
    from vitrail.models.parallel_vit import ParallelViT as ParallelViT
    from vitrail.models.patch_merger_vit import PatchMergerViT as PatchMergerViT
    from vitrail.models.pit import PiT as PiT
    from vitrail.models.pvt import PVT as PVT
    from vitrail.models.pvt_v2 import PVTv2 as PVTv2
    from vitrail.models.region_vit import RegionViT as RegionViT
    from vitrail.models.registry import register_model as register_model
    from vitrail.models.scalable_vit import ScalableViT as ScalableViT
    from vitrail.models.sep_vit import SepViT as SepViT
    from vitrail.models.siglip_vit import SigLIPViT as SigLIPViT
    from vitrail.models.simple_vit import SimpleViT as SimpleViT
    from vitrail.models.small_vit import SmallViT as SmallViT
    from vitrail.models.surgery import resized as resized
    from vitrail.models.surgery import with_options as with_options
    from vitrail.models.swin import Swin as Swin
    from vitrail.models.t2t import T2TViT as T2TViT
    from vitrail.models.tiers import PyramidBackbone as PyramidBackbone
    from vitrail.models.tiers import SequenceBackbone as SequenceBackbone
    from vitrail.models.twins import Twins as Twins
    from vitrail.models.vim import VisionMamba as VisionMamba
    from vitrail.models.vim_official import OfficialVisionMamba as OfficialVisionMamba
    from vitrail.models.vit import ViT as ViT
    from vitrail.models.vivit import ViViT as ViViT
    from vitrail.models.xcit import XCiT as XCiT

lazy(__name__)
