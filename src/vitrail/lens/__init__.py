"""Looking inside a model: attention, rollout, features as colors, shapes, figures, reports."""
