"""What valid calls are made of: small models, images, files. Each is made when it is first used."""

import functools
import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import vitrail
from vitrail.data import AugmentConfig, InMemoryDataset, Loader
from vitrail.methods import CLIP, Batch, Supervised
from vitrail.preprocess import Preprocess
from vitrail.train import FeatureStream, ImageStream, Schedule, make_config, open_datasets
from vitrail.train.streams import evaluation_transform

SMALL = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 8}


def tokenizer(texts: Any) -> Tensor:
    """Texts → ids of their lengths."""
    return torch.tensor([[len(text) % 10, 15] for text in texts])


tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 2, 15  # type: ignore[attr-defined]


class Kit:
    """Objects for valid calls, in a folder of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def new(self, suffix: str = "") -> Path:
        """A path that does not exist yet."""
        self.count += 1
        return self.root / f"new{self.count}{suffix}"

    def vit(self, num_classes: int = 2, **more: Any) -> vitrail.ViT:
        """A new model."""
        torch.manual_seed(0)
        keywords = {"image_size": 8, "num_classes": num_classes, **SMALL, **more}
        return vitrail.ViT(**keywords).eval()

    @functools.cached_property
    def model(self) -> vitrail.ViT:
        """A model that no call changes."""
        model = self.vit()
        model.labels = ["cat", "dog"]
        return model

    @functools.cached_property
    def gray(self) -> vitrail.ViT:
        """A model of the digits."""
        return self.vit(10, channels=1)

    def vim(self, **more: Any) -> vitrail.VisionMamba:
        """A new causal Vision Mamba."""
        keywords = {"image_size": 16, "patch_size": 4, "num_classes": 5, "dim": 8, "depth": 1}
        return vitrail.VisionMamba(**{**keywords, "scan": "forward", "pool": "last", **more})

    @functools.cached_property
    def images(self) -> Tensor:
        """Normalized images."""
        return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    @functools.cached_property
    def pixels(self) -> Tensor:
        """Pictures, as they are read."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=generator)

    @functools.cached_property
    def photos(self) -> Path:
        """A folder of cats and dogs."""
        folder = self.root / "photos"
        for label in ("cat", "dog"):
            (folder / label).mkdir(parents=True)
            for number in range(3):
                picture = Image.fromarray(self.pixels[number].movedim(0, -1).numpy())
                picture.save(folder / label / f"{number}.png")
        return folder

    @functools.cached_property
    def photo(self) -> Path:
        """A picture."""
        return self.photos / "cat" / "0.png"

    @functools.cached_property
    def png(self) -> bytes:
        """A picture as a file's bytes."""
        file = io.BytesIO()
        Image.new("RGB", (5, 4)).save(file, "png")
        return file.getvalue()

    @functools.cached_property
    def digits(self) -> vitrail.data.Dataset:
        """A labelled dataset."""
        return vitrail.data.open_dataset("digits", limit=20)

    @functools.cached_property
    def memory(self) -> InMemoryDataset:
        """A labelled dataset of two classes."""
        return InMemoryDataset(self.pixels, torch.arange(4) % 2, ["cat", "dog"])

    @functools.cached_property
    def rows(self) -> Any:
        """A dataset of the Hub's library."""
        datasets = __import__("datasets")
        columns = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
        pictures = [Image.new("RGB", (4, 3))] * 4
        rows = {"image": pictures, "label": [0, 1, 0, 1]}
        return datasets.Dataset.from_dict(rows, datasets.Features(columns))

    @functools.cached_property
    def folder(self) -> Path:
        """A model folder."""
        return vitrail.save(self.model, self.root / "model")

    @functools.cached_property
    def run(self) -> vitrail.train.TrainingRun:
        """A run of a second."""
        run = vitrail.fit(
            "ViT", data=self.memory, options=SMALL, crop="none", epochs=1, out=self.root / "run"
        )
        assert run.model.num_classes == 2
        return run

    @functools.cached_property
    def digits_run(self) -> Path:
        """A run whose data can be opened again."""
        return vitrail.train.train_and_report(self.config, self.root / "run of digits").folder

    @functools.cached_property
    def method_folder(self) -> Path:
        """A saved method."""
        folder = self.root / "run of a method"
        vitrail.save(self.vit(patch_size=2), folder / "model")
        vitrail.hub.save_method(self.method("simmim"), "simmim", folder / "method")
        return folder

    def method(self, name: str = "supervised", **settings: Any) -> vitrail.methods.Method:
        """A new method."""
        return vitrail.methods.create_method(name, self.vit(patch_size=2), **settings)

    def clip(self) -> CLIP:
        """A new CLIP."""
        sizes = {"embed_dim": 4, "text_dim": 8, "text_depth": 1, "text_heads": 2}
        return CLIP(self.vit(0), tokenizer, **sizes)

    @property
    def tokenizer(self) -> Any:
        """Texts → ids."""
        return tokenizer

    @functools.cached_property
    def config(self) -> vitrail.train.RunConfig:
        """Settings of a run."""
        return make_config(
            {
                "data": {"source": "digits", "limit": 20, "batch_size": 4},
                "model": {"name": "ViT", "options": SMALL},
                "schedule": {"epochs": 1},
            }
        )

    @functools.cached_property
    def recipe(self) -> Path:
        """Settings of a run as a file."""
        path = self.root / "recipe.yaml"
        path.write_text("optim: {lr: 0.1}", "utf-8")
        return path

    @functools.cached_property
    def datasets(self) -> vitrail.train.Datasets:
        """The datasets of `config`."""
        return open_datasets(self.config)

    @functools.cached_property
    def loader(self) -> Loader:
        """Batches of digits."""
        return Loader(self.digits, 10, self.gray.preprocess.crop)

    @functools.cached_property
    def stream(self) -> ImageStream:
        """Batches of digits for training."""
        return ImageStream(self.loader, evaluation_transform(self.gray.preprocess))

    @functools.cached_property
    def features(self) -> FeatureStream:
        """Batches of features."""
        return FeatureStream(torch.randn(8, 8), torch.arange(8) % 2, batch_size=4)

    @functools.cached_property
    def preprocess(self) -> Preprocess:
        """What the models expect."""
        return Preprocess((8, 8), None)

    @functools.cached_property
    def augment(self) -> AugmentConfig:
        """Augmentation."""
        return AugmentConfig()

    @functools.cached_property
    def trace(self) -> vitrail.lens.AttentionTrace:
        """Attention of the model."""
        return vitrail.lens.trace_attention(self.model, self.images)

    @functools.cached_property
    def trace_file(self) -> Path:
        """A saved trace."""
        path, trace = self.new(".trace"), vitrail.lens.trace_attention(self.model, self.images[:1])
        vitrail.lens.save_trace(
            path, vitrail.lens.SavedTrace(self.pixels[0], trace, "cat", "a test")
        )
        return path

    @functools.cached_property
    def stages(self) -> list[vitrail.Features]:
        """Features of a stage."""
        return [vitrail.Features.from_map(torch.rand(2, 2, 2, 8))]

    @functools.cached_property
    def batch(self) -> Batch:
        """A batch of images with labels."""
        return Batch(images=self.images, labels=torch.tensor([0, 1]))

    def trainer(self, **more: Any) -> dict[str, Any]:
        """Arguments of a trainer."""
        method = Supervised(self.gray)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
        schedule = Schedule(total=2)
        return {
            "method": method, "stream": self.stream, "optimizer": optimizer, "schedule": schedule,
            **more,
        }  # fmt: skip

    @functools.cached_property
    def plugin(self) -> Path:
        """A file with a model."""
        path = self.root / "mine.py"
        path.write_text(
            "import vitrail\n\n\n@vitrail.register_model\nclass HuntedModel(vitrail.ViT): ...\n",
            "utf-8",
        )
        return path

    @functools.cached_property
    def scan(self) -> Any:
        """Inputs of the selective scan."""
        from vitrail.ops.selective_scan import Scan

        return Scan(**self.scan_fields())

    def scan_fields(self) -> dict[str, Any]:
        """Fields of a scan."""
        u, b, d = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        return {
            "u": u, "delta": u, "A": -torch.ones(1, 4, 3), "B": b, "C": b, "D": d, "bias": d,
            "z": None,
        }  # fmt: skip

    @functools.cached_property
    def tokens(self) -> Tensor:
        """A sequence of tokens."""
        return torch.randn(1, 5, 8)

    @functools.cached_property
    def map(self) -> Tensor:
        """Features on a map, channels last."""
        return torch.randn(1, 4, 4, 8)

    def attention(self) -> nn.Module:
        """A new attention."""
        return vitrail.layers.Attention(8, 2)

    def branch(self) -> vitrail.layers.MambaBranch:
        """A new branch of Mamba."""
        return vitrail.layers.MambaBranch(nn.LayerNorm(8), vitrail.layers.Mamba(8), nn.Identity())
