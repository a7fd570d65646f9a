"""What a page is told of a model and of a picture: one format for the server and for exports.

Every document is plain values for JSON with `format`, `version` and `kind`; arrays are those of
`vitrail.explorer.arrays`. `docs/explorer.md` describes them, `static/trace.schema.json` too.
"""

import base64
import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.image_file import ImageFile
from vitrail.errors import ConfigError, DataError, TierError, VitrailError, how_to_install
from vitrail.explorer.arrays import encode_array
from vitrail.explorer.pictures import data_url, thumbnail
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.explanations.base import EXPLANATIONS, explain, explains_classes
from vitrail.lens.explanations.patch_logits import logit_lens
from vitrail.lens.heat import COLORS
from vitrail.lens.layer_keys import recorded_mixers, select_position
from vitrail.lens.record import record
from vitrail.lens.trace import AttentionTrace, observe, patch_maps
from vitrail.models.base import Backbone

FORMAT, VERSION = "vitrail.explorer", 1
OF_ATTENTION = ("attention", "attention_gradient", "relevance", "rollout")
OF_PIXELS = ("integrated_gradients", "occlusion")  # minutes on a large model
PREDICTIONS = 5  # classes that are listed
PICTURES = 24  # that are offered at the start, and whose pixels are kept


class Explorer:
    """A model with the pictures that are looked at. One thread computes at a time.

    Args:
        model: a model of images, in evaluation mode.
        title: what the model is called.
        samples: paths of pictures that are offered at the start; the first 24.
        faithfulness: rows of `vitrail explain compare`, if there are any.

    Raises:
        TierError: the model is not one of images.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> Explorer(model, "tiny").model_document()["classes"]
        2
    """

    def __init__(
        self,
        model: Backbone,
        title: str,
        samples: Sequence[Path] = (),
        faithfulness: Sequence[Mapping[str, object]] = (),
    ) -> None:
        if len(model.preprocess.size) != 2:
            raise TierError(
                f"this {type(model).__name__} sees {len(model.preprocess.size)} axes, and the page "
                "shows images: use `vitrail look`."
            )
        self.model, self.title = model, title
        self.samples, self.faithfulness = list(samples)[:PICTURES], list(faithfulness)
        self._lock = threading.Lock()
        self._crops: OrderedDict[str, Tensor] = OrderedDict()  # uint8 (C, H, W) by id

    def model_document(self) -> dict[str, object]:
        """The model: its labels, explanations and colors, and the pictures that are offered."""
        model = self.model
        thumbnails = []
        for path in self.samples:
            crop = model.preprocess.crop(path)
            thumbnails.append({"title": path.name, "picture": thumbnail(crop)})
        blocks = "block" if model.depth == 1 else "blocks"
        colors = (COLORS * 255).round().astype("u1").tobytes()
        return self._document(
            "model",
            title=self.title,
            description=f"{type(model).__name__}, {model.depth} {blocks}",
            origin=model.origin,
            size=list(model.preprocess.size),
            classes=model.num_classes,
            labels=model.labels,
            target=model.outputs.target,
            explanations=explanation_rows(model),
            faithfulness=self.faithfulness,
            samples=thumbnails,
            colors=base64.b64encode(colors).decode("ascii"),
        )

    @checked
    def add_picture(self, data: bytes, name: str) -> dict[str, object]:
        """Reads a picture and runs the model on it.

        Args:
            data: the bytes of an image file.
            name: its name.

        Returns:
            The document of the trace; its `id` names the picture from now on.

        Raises:
            DataError: the bytes are no image, a damaged one, or one of too many pixels.
        """
        preprocess = self.model.preprocess
        file = ImageFile(data, preprocess.channels, name, preprocess.white)
        key = hashlib.sha256(data).hexdigest()[:16]
        with self._lock:  # of large pictures, two would need twice the memory
            self._crops[key] = preprocess.crop(file)
            while len(self._crops) > PICTURES:
                self._crops.popitem(last=False)
        return self.trace_document(key, name)

    def sample(self, index: int) -> dict[str, object]:
        """The document of the trace of a picture that is offered.

        Args:
            index: its position.

        Returns:
            As `add_picture`.

        Raises:
            ConfigError: there is no such picture.
            DataError: it cannot be read.
        """
        if not 0 <= index < len(self.samples):
            raise ConfigError(f"sample={index}: there are {len(self.samples)}, counted from 0.")
        path = self.samples[index]
        try:
            data = path.read_bytes()
        except OSError as problem:
            raise DataError(f"{path.name}: cannot be read ({problem.strerror}).") from None
        return self.add_picture(data, path.name)

    def trace_document(self, key: str, name: str) -> dict[str, object]:
        """What the model answers for a picture, and which layers have maps.

        Args:
            key: the picture's id.
            name: what it is called.

        Returns:
            The document of the trace.

        Raises:
            ConfigError: there is no such picture.
            DataError: the model's output is not finite.
        """
        with self._running(key) as inputs, torch.inference_mode():
            trace = observe(self.model, inputs)
            if isinstance(trace, AttentionTrace):
                features, logits, reason = trace.features, trace.logits, ""
                mixers = recorded_mixers(self.model)
                layers = [
                    {"key": str(k), "heads": maps.shape[1], "names": list(mixers[k].head_names)}
                    for k, maps in zip(trace.keys, trace.attention, strict=True)
                ]
            else:
                features, reason, layers = trace[-1], trace.reason, []
                logits = self.model(inputs)
            if not bool(logits.isfinite().all()):
                raise DataError(
                    f"{name}: the model's output is NaN or infinite: check its weights."
                )
            lens = self._logit_lens(inputs) if self.model.num_classes else None
            picture = data_url(self._crops[key])
        return self._document(
            "trace",
            id=key,
            title=name,
            picture=picture,
            size=list(inputs.shape[-2:]),
            grid=list(features.grid),
            prefix=features.prefix.shape[1],
            layers=layers,
            reason=reason,
            predictions=self._predictions(logits),
            lens=lens,
            targets=None,
        )

    def attention_document(self, key: str, layer: int) -> dict[str, object]:
        """Attention weights of a layer between all tokens, prefix tokens first.

        Args:
            key: the picture's id.
            layer: position of the layer; negative ones count from the end.

        Returns:
            A document with an array (heads, N, N).

        Raises:
            ConfigError: there is no such picture or layer.
            TierError: the model has no map of its attention.
        """
        names = list(recorded_mixers(self.model))
        layer = select_position(layer, len(names))
        with self._running(key) as inputs, torch.inference_mode():
            with record(self.model, layers=[names[layer]]) as maps:
                embedded = self.model.embed(inputs)
                self.model.encode(embedded)
            weights = maps[names[layer]]
            patch_maps(weights, embedded.grid, embedded.prefix.shape[1])  # raises if it is no map
        return self._document("attention", id=key, layer=layer, array=encode_array(weights[0]))

    def similarity_document(self, key: str) -> dict[str, object]:
        """Cosine similarity between the features of all patches, after the last block.

        Args:
            key: the picture's id.

        Returns:
            A document with an array (N, N) over the `grid`.

        Raises:
            ConfigError: there is no such picture.
        """
        with self._running(key) as inputs, torch.inference_mode():
            (features,) = self.model.intermediates(inputs, [-1])
            patches = F.normalize(features.patches[0].float(), dim=-1)
            array = encode_array(patches @ patches.T)
        return self._document("similarity", id=key, grid=list(features.grid), array=array)

    def explanation_document(
        self, key: str, name: str, target: int | None = None
    ) -> dict[str, object]:
        """A map of what the output depends on.

        Args:
            key: the picture's id.
            name: name of the explanation.
            target: index of the class; None for the likeliest, or an explanation of no class.

        Returns:
            A document with an array (rows, columns), over the patches or the pixels.

        Raises:
            ConfigError: there is no such picture, explanation or class.
            TierError: the model lacks what the explanation reads.
        """
        with self._running(key) as inputs:
            weights = explain(self.model, inputs, name, target)[0]
        array = encode_array(weights)
        return self._document("explanation", id=key, name=name, target=target, array=array)

    @contextlib.contextmanager
    def _running(self, key: str) -> Iterator[Tensor]:
        """The normalized picture (1, C, H, W), while no other thread computes."""
        with self._lock:
            if key not in self._crops:
                raise ConfigError(f"id={key[:40]!r}: no such picture is open; open it again.")
            self._crops.move_to_end(key)
            device = next(self.model.parameters()).device
            yield self.model.preprocess.normalise(self._crops[key][None]).to(device)

    def _predictions(self, logits: Tensor) -> list[dict[str, object]]:
        """The likeliest classes, the first first; of outputs that are numbers, the first few."""
        if not self.model.num_classes:
            return []
        values = self.model.outputs.activate(logits.float())[0]
        order = values.argsort(descending=True)
        if self.model.outputs.target == "numbers":
            order = torch.arange(len(values))
        return [
            {"index": i, "label": self._label(i), "value": values[i].item()}
            for i in order[:PREDICTIONS].tolist()
        ]

    def _logit_lens(self, inputs: Tensor) -> dict[str, object]:
        """Outputs after each block, of the final classes and of those that lead in between."""
        try:
            logits = logit_lens(self.model, inputs)[:, 0].float()
        except VitrailError as problem:
            return {"reason": str(problem)}
        values = self.model.outputs.activate(logits)
        final = values[-1].argsort(descending=True)[:PREDICTIONS].tolist()
        leaders = values.argmax(1).tolist()
        classes = list(dict.fromkeys([*final, *leaders]))
        labels = [self._label(i) for i in classes]
        return {"classes": classes, "labels": labels, "values": values[:, classes].tolist()}

    def _label(self, index: int) -> str:
        return self.model.labels[index] if self.model.labels else str(index)

    def _document(self, kind: str, **values: Any) -> dict[str, object]:
        return {"format": FORMAT, "version": VERSION, "kind": kind, **values}


def explanation_rows(model: Backbone) -> list[dict[str, object]]:
    """The explanations that there are, and which of them this model lacks something for.

    Args:
        model: the model.

    Returns:
        Per explanation its `name`; `of_class`, whether it has a target; `slow`, whether it takes
        long; and `reason`, why it cannot be used, or "".

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> {row["name"]: row["reason"] for row in explanation_rows(model)}["relevance"]
        'this ViT has no classes.'
    """
    kind = type(model).__name__
    attends = any(isinstance(module, RecordedMixer) for module in model.modules())
    rows = []
    for name in EXPLANATIONS.names():
        of_class = explains_classes(name)
        reason = ""
        if name == "similarity":
            continue  # shown for any patch, without this
        if name in OF_ATTENTION and not attends:
            reason = f"this {kind} has no attention."
        elif of_class and not model.num_classes:
            reason = f"this {kind} has no classes."
        elif name in OF_PIXELS and find_spec("captum") is None:
            reason = f"captum is not installed: {how_to_install('captum')}"
        slow = name in OF_PIXELS
        rows.append({"name": name, "of_class": of_class, "slow": slow, "reason": reason})
    return rows
