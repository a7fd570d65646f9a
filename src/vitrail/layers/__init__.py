"""Mechanisms that two papers or more share. Each is written once, here."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.layers.attention import Attend as Attend
    from vitrail.layers.attention import Attention as Attention
    from vitrail.layers.attention import CrossAttention as CrossAttention
    from vitrail.layers.attention import divide as divide
    from vitrail.layers.block import Block as Block
    from vitrail.layers.block import DropPath as DropPath
    from vitrail.layers.block import LayerScale as LayerScale
    from vitrail.layers.block import RotatedBlock as RotatedBlock
    from vitrail.layers.block import drop_path_rates as drop_path_rates
    from vitrail.layers.computed import compute_buffers as compute_buffers
    from vitrail.layers.computed import register_computed as register_computed
    from vitrail.layers.conv import ConditionalPosition as ConditionalPosition
    from vitrail.layers.conv import ConvNorm as ConvNorm
    from vitrail.layers.conv import DepthwiseConv as DepthwiseConv
    from vitrail.layers.conv import LinearNorm as LinearNorm
    from vitrail.layers.conv import MBConv as MBConv
    from vitrail.layers.conv import SqueezeExcite as SqueezeExcite
    from vitrail.layers.conv import StridedConvNorm as StridedConvNorm
    from vitrail.layers.conv import pad_same as pad_same
    from vitrail.layers.heads import DistillationHeads as DistillationHeads
    from vitrail.layers.heads import TokenDistillationHeads as TokenDistillationHeads
    from vitrail.layers.inference_params import InferenceParams as InferenceParams
    from vitrail.layers.inference_params import MambaState as MambaState
    from vitrail.layers.inference_params import evaluation as evaluation
    from vitrail.layers.linear import Linear as Linear
    from vitrail.layers.linear import scale_outputs as scale_outputs
    from vitrail.layers.linear_attention import Linformer as Linformer
    from vitrail.layers.linear_attention import Nystrom as Nystrom
    from vitrail.layers.linear_attention import Performer as Performer
    from vitrail.layers.mamba import Mamba as Mamba
    from vitrail.layers.mamba_block import MambaBlock as MambaBlock
    from vitrail.layers.mamba_block import MambaBranch as MambaBranch
    from vitrail.layers.mamba_block import MambaPair as MambaPair
    from vitrail.layers.mixers import make_mixer as make_mixer
    from vitrail.layers.mixers import register_mixer as register_mixer
    from vitrail.layers.mlp import GELU as GELU
    from vitrail.layers.mlp import Mlp as Mlp
    from vitrail.layers.mlp import QuickGELU as QuickGELU
    from vitrail.layers.norm import BatchNorm2d as BatchNorm2d
    from vitrail.layers.norm import LayerNorm as LayerNorm
    from vitrail.layers.norm import RMSNorm as RMSNorm
    from vitrail.layers.packing import Pack as Pack
    from vitrail.layers.packing import attend_within as attend_within
    from vitrail.layers.patch import PatchEmbed as PatchEmbed
    from vitrail.layers.patch import check_images as check_images
    from vitrail.layers.patch import check_input as check_input
    from vitrail.layers.patch import patch_grid as patch_grid
    from vitrail.layers.patch import patchify as patchify
    from vitrail.layers.patch import to_tuple as to_tuple
    from vitrail.layers.patch import unpatchify as unpatchify
    from vitrail.layers.position import PositionTable as PositionTable
    from vitrail.layers.position import resize_positions as resize_positions
    from vitrail.layers.position import rotate as rotate
    from vitrail.layers.position import rotation as rotation
    from vitrail.layers.position import select_rotation as select_rotation
    from vitrail.layers.position import sequence_positions as sequence_positions
    from vitrail.layers.position import sincos_positions as sincos_positions
    from vitrail.layers.pyramid import check_stages as check_stages
    from vitrail.layers.recording import RecordedMixer as RecordedMixer
    from vitrail.layers.relative_position import RelativeBias as RelativeBias
    from vitrail.layers.relative_position import relative_index as relative_index
    from vitrail.layers.sequence import SequenceAugment as SequenceAugment
    from vitrail.layers.spatial_reduction import ReducedAttention as ReducedAttention
    from vitrail.layers.spatial_reduction import spatial_reduction as spatial_reduction
    from vitrail.layers.tokens import Token as Token
    from vitrail.layers.tokens import draw_or_zero as draw_or_zero
    from vitrail.layers.tokens import take as take
    from vitrail.layers.window import WindowAttention as WindowAttention
    from vitrail.layers.window import pad_to as pad_to
    from vitrail.layers.window import partition as partition
    from vitrail.layers.window import shift_mask as shift_mask
    from vitrail.layers.window import unpartition as unpartition

lazy(__name__)
