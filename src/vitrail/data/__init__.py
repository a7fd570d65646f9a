"""Images in: sources, decoding, batches, views. Stands alone; knows nothing of models."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.data.augment_config import AugmentConfig as AugmentConfig
    from vitrail.data.augment_config import MultiCropConfig as MultiCropConfig
    from vitrail.data.dataset import Dataset as Dataset
    from vitrail.data.folder_dataset import FolderDataset as FolderDataset
    from vitrail.data.folders import Inventory as Inventory
    from vitrail.data.folders import find_layout as find_layout
    from vitrail.data.hub_datasets import HubDataset as HubDataset
    from vitrail.data.hub_datasets import StreamedDataset as StreamedDataset
    from vitrail.data.images import decode as decode
    from vitrail.data.images import find_images as find_images
    from vitrail.data.images import read_image as read_image
    from vitrail.data.in_memory import InMemoryDataset as InMemoryDataset
    from vitrail.data.joined import JoinedDataset as JoinedDataset
    from vitrail.data.loader import Loader as Loader
    from vitrail.data.loader import RawBatch as RawBatch
    from vitrail.data.own_transforms import register_image_transform as register_image_transform
    from vitrail.data.own_transforms import register_transform as register_transform
    from vitrail.data.pairs import PairDataset as PairDataset
    from vitrail.data.registry import open_dataset as open_dataset
    from vitrail.data.registry import register_dataset as register_dataset
    from vitrail.data.samples import sample_images as sample_images
    from vitrail.data.splits import balanced as balanced
    from vitrail.data.splits import split_off as split_off
    from vitrail.data.text import Tokenizer as Tokenizer
    from vitrail.data.text import open_tokenizer as open_tokenizer
    from vitrail.data.transforms import MultiCrop as MultiCrop
    from vitrail.data.transforms import TrainTransform as TrainTransform

lazy(__name__)
