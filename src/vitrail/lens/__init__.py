"""Looking inside a model: attention, rollout, features as colors, shapes, figures, reports."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.lens.curves import training_curves as training_curves
    from vitrail.lens.explanations.base import explain as explain
    from vitrail.lens.explanations.base import register_explanation as register_explanation
    from vitrail.lens.explanations.patch_logits import logit_lens as logit_lens
    from vitrail.lens.explanations.similarity import text_similarity as text_similarity
    from vitrail.lens.features import pca_colors as pca_colors
    from vitrail.lens.figures import Panel as Panel
    from vitrail.lens.grids import attention_grid as attention_grid
    from vitrail.lens.grids import reconstruction_grid as reconstruction_grid
    from vitrail.lens.grids import similarity_matrix as similarity_matrix
    from vitrail.lens.pictures import heat_map as heat_map
    from vitrail.lens.pictures import to_picture as to_picture
    from vitrail.lens.plots import attention_figure as attention_figure
    from vitrail.lens.plots import panels as panels
    from vitrail.lens.plots import stage_panels as stage_panels
    from vitrail.lens.record import record as record
    from vitrail.lens.recorder import Extractor as Extractor
    from vitrail.lens.recorder import Recorder as Recorder
    from vitrail.lens.report_page import write_report as write_report
    from vitrail.lens.rollout import rollout as rollout
    from vitrail.lens.shapes import ShapeRow as ShapeRow
    from vitrail.lens.shapes import shapes as shapes
    from vitrail.lens.trace import AttentionTrace as AttentionTrace
    from vitrail.lens.trace import observe as observe
    from vitrail.lens.trace import patch_maps as patch_maps
    from vitrail.lens.trace import trace_attention as trace_attention

lazy(__name__)
