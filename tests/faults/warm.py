"""Imports what a run needs, for the process from which others are forked. It computes nothing."""

import accelerate
import kornia
import sklearn.datasets
import sklearn.linear_model
import sklearn.metrics
import torch
import torch._dynamo
import torch.distributed.fsdp
import torch.utils.tensorboard

import vitrail.cli.main
import vitrail.lens.report_page
import vitrail.train.runs
from vitrail.cli import train

__all__ = ["accelerate", "kornia", "sklearn", "train", "vitrail"]

torch.set_num_threads(1)
vitrail.cli.main.build_app()
