"""Looking inside a model: attention, rollout, features as colors, shapes, figures, reports."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.lens.curves import training_curves as training_curves
    from vitrail.lens.explanations.base import explain as explain
    from vitrail.lens.explanations.base import register_explanation as register_explanation
    from vitrail.lens.explanations.patch_logits import logit_lens as logit_lens
    from vitrail.lens.explanations.similarity import text_similarity as text_similarity
    from vitrail.lens.faithfulness.boxes import mass_inside as mass_inside
    from vitrail.lens.faithfulness.boxes import pointing_game as pointing_game
    from vitrail.lens.faithfulness.compare import compare_explanations as compare_explanations
    from vitrail.lens.faithfulness.perturbation import perturbation_curve as perturbation_curve
    from vitrail.lens.faithfulness.randomization import randomization_check as randomization_check
    from vitrail.lens.faithfulness.randomization import rank_correlation as rank_correlation
    from vitrail.lens.features import ColorBasis as ColorBasis
    from vitrail.lens.features import pca_colors as pca_colors
    from vitrail.lens.figures import Panel as Panel
    from vitrail.lens.grids import attention_grid as attention_grid
    from vitrail.lens.grids import reconstruction_grid as reconstruction_grid
    from vitrail.lens.grids import similarity_matrix as similarity_matrix
    from vitrail.lens.heat import Scale as Scale
    from vitrail.lens.heat import read_colors as read_colors
    from vitrail.lens.map_numbers import MapNumbers as MapNumbers
    from vitrail.lens.map_numbers import map_numbers as map_numbers
    from vitrail.lens.pictures import heat_map as heat_map
    from vitrail.lens.pictures import to_picture as to_picture
    from vitrail.lens.plots import attention_figure as attention_figure
    from vitrail.lens.plots import panels as panels
    from vitrail.lens.plots import stage_panels as stage_panels
    from vitrail.lens.points import patch_at as patch_at
    from vitrail.lens.position import explained_by_position as explained_by_position
    from vitrail.lens.position import position_baseline as position_baseline
    from vitrail.lens.record import record as record
    from vitrail.lens.recorder import Extractor as Extractor
    from vitrail.lens.recorder import Recorder as Recorder
    from vitrail.lens.report_page import write_report as write_report
    from vitrail.lens.rollout import rollout as rollout
    from vitrail.lens.shape_checks import assert_shapes as assert_shapes
    from vitrail.lens.shape_drawing import shapes_svg as shapes_svg
    from vitrail.lens.shapes import ShapeRow as ShapeRow
    from vitrail.lens.shapes import shapes as shapes
    from vitrail.lens.sheet import attention_sheet as attention_sheet
    from vitrail.lens.symmetry import symmetry as symmetry
    from vitrail.lens.trace import AttentionTrace as AttentionTrace
    from vitrail.lens.trace import StageFeatures as StageFeatures
    from vitrail.lens.trace import observe as observe
    from vitrail.lens.trace import patch_maps as patch_maps
    from vitrail.lens.trace import trace_attention as trace_attention
    from vitrail.lens.trace_file import SavedTrace as SavedTrace
    from vitrail.lens.trace_file import load_trace as load_trace
    from vitrail.lens.trace_file import save_trace as save_trace

lazy(__name__)
