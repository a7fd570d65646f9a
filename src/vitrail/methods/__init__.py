"""What a backbone is trained to do, one paper a file."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.methods.attentive_probe import AttentiveProbe as AttentiveProbe
    from vitrail.methods.base import Batch as Batch
    from vitrail.methods.base import Loss as Loss
    from vitrail.methods.base import Method as Method
    from vitrail.methods.beit import BEiTPretraining as BEiTPretraining
    from vitrail.methods.clip import CLIP as CLIP
    from vitrail.methods.dino import DINO as DINO
    from vitrail.methods.distill import Distill as Distill
    from vitrail.methods.dvae import DVAE as DVAE
    from vitrail.methods.ema_teacher import EMATeacher as EMATeacher
    from vitrail.methods.linear_probe import LinearProbe as LinearProbe
    from vitrail.methods.mae import MAE as MAE
    from vitrail.methods.masked import Masked as Masked
    from vitrail.methods.memory import LearnableMemory as LearnableMemory
    from vitrail.methods.mp3 import MP3 as MP3
    from vitrail.methods.mpp import MPP as MPP
    from vitrail.methods.multi_label import MultiLabel as MultiLabel
    from vitrail.methods.pretraining import Pretraining as Pretraining
    from vitrail.methods.registry import create_method as create_method
    from vitrail.methods.registry import get_method as get_method
    from vitrail.methods.registry import list_methods as list_methods
    from vitrail.methods.registry import register_method as register_method
    from vitrail.methods.regression import Regression as Regression
    from vitrail.methods.simmim import SimMIM as SimMIM
    from vitrail.methods.supervised import Supervised as Supervised
    from vitrail.methods.text_tower import TextTower as TextTower

lazy(__name__)
