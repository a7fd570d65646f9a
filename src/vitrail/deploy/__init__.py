"""Shipping a model."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.deploy.export import Exported as Exported
    from vitrail.deploy.export import export_onnx as export_onnx
    from vitrail.deploy.fuse import fuse as fuse
    from vitrail.deploy.fuse import plain_layers as plain_layers
    from vitrail.deploy.precision import FastestModel as FastestModel
    from vitrail.deploy.precision import fastest as fastest
    from vitrail.deploy.precision import halve as halve
    from vitrail.deploy.program import export_program as export_program
    from vitrail.deploy.stream import Stepper as Stepper
    from vitrail.deploy.towers import ImageEncoder as ImageEncoder
    from vitrail.deploy.towers import TextEncoder as TextEncoder

lazy(__name__)
