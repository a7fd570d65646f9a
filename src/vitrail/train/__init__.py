"""One loop for every method."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.train.callback import Callback as Callback
    from vitrail.train.checkpoint_model import save_checkpoint_model as save_checkpoint_model
    from vitrail.train.config import RunConfig as RunConfig
    from vitrail.train.config import make_config as make_config
    from vitrail.train.config import read_config as read_config
    from vitrail.train.data_factory import Datasets as Datasets
    from vitrail.train.data_factory import open_datasets as open_datasets
    from vitrail.train.evaluation import evaluate as evaluate
    from vitrail.train.evaluator import Evaluator as Evaluator
    from vitrail.train.factory import build_trainer as build_trainer
    from vitrail.train.folds import FoldResults as FoldResults
    from vitrail.train.folds import train_folds as train_folds
    from vitrail.train.keywords import Settings as Settings
    from vitrail.train.lora import adapt as adapt
    from vitrail.train.lora import merge as merge
    from vitrail.train.metrics import Evaluation as Evaluation
    from vitrail.train.model_factory import build_method as build_method
    from vitrail.train.model_factory import build_model as build_model
    from vitrail.train.optim import ParameterOptim as ParameterOptim
    from vitrail.train.optim import make_ema as make_ema
    from vitrail.train.optim import parameter_groups as parameter_groups
    from vitrail.train.optim import register_optimizer as register_optimizer
    from vitrail.train.prediction import PooledFeatures as PooledFeatures
    from vitrail.train.prediction import Prediction as Prediction
    from vitrail.train.prediction import Predictor as Predictor
    from vitrail.train.prediction import features as features
    from vitrail.train.prediction import predict as predict
    from vitrail.train.runs import TrainingRun as TrainingRun
    from vitrail.train.runs import fit as fit
    from vitrail.train.runs import train_and_report as train_and_report
    from vitrail.train.schedule import Schedule as Schedule
    from vitrail.train.streams import FeatureStream as FeatureStream
    from vitrail.train.streams import ImageStream as ImageStream
    from vitrail.train.streams import Stream as Stream
    from vitrail.train.trainer import Trainer as Trainer

lazy(__name__)
