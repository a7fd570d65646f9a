"""What a page is told of a model and of a picture: one format for the server and for exports.

Every document is plain values for JSON with `format`, `version` and `kind`; arrays are those of
`vitrail.explorer.arrays`. `docs/en/explorer.md` describes them, `static/trace.schema.json` too.
"""

import base64
import contextlib
import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.image_file import ImageFile
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.explorer.answers import lens_values, prediction_rows
from vitrail.explorer.arrays import encode_array
from vitrail.explorer.explanation_rows import explanation_rows
from vitrail.explorer.layer_rows import layer_rows, why_layers_are_missing
from vitrail.explorer.pictures import data_url, thumbnail
from vitrail.explorer.scan import scan_values
from vitrail.explorer.walk import walk_values, why_no_walk
from vitrail.hub.fitting import unwrapped
from vitrail.lens.explanations.base import explain
from vitrail.lens.explanations.similarity import patch_directions, text_similarity
from vitrail.lens.heat import SIGNED_COLORS
from vitrail.lens.layer_keys import LayerKey, recorded_mixers, select_position
from vitrail.lens.layouts import AttentionLayout, attention_layouts
from vitrail.lens.position import shuffled_weights
from vitrail.lens.record import record
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone

FORMAT, VERSION = "vitrail.explorer", 2
PICTURES = 24  # that are offered at the start, and whose pixels are kept
LONGEST_TEXT = 300  # characters of a sentence


class Explorer:
    """A model with the pictures that are looked at. One thread computes at a time.

    Args:
        model: a model of images, in evaluation mode.
        title: what the model is called.
        samples: paths of pictures that are offered at the start; the first 24.
        faithfulness: rows of `vitrail explain compare`, if there are any.
        clip: the method that compares images with sentences, whose backbone the model is; None if
            there is none.
        second: another model, which is shown beside this one on the same pictures; None for none.

    Raises:
        TierError: the model is not one of images.
        ConfigError: it is no model of Vitrail.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> Explorer(model, "tiny").model_document()["classes"]
        2
    """

    @checked
    def __init__(
        self,
        model: Backbone,
        title: str,
        samples: Sequence[Path] = (),
        faithfulness: Sequence[Mapping[str, object]] = (),
        *,
        clip: CLIP | None = None,
        second: "Explorer | None" = None,
    ) -> None:
        if len(model.preprocess.size) != 2:
            raise TierError(
                f"this {type(model).__name__} sees {len(model.preprocess.size)} axes, and the page "
                "shows images: use `vitrail look`."
            )
        self.model = cast(Backbone, unwrapped(model))
        self.title, self.clip, self.second = title, clip, second
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
        colors = (SIGNED_COLORS * 255).round().astype("u1").tobytes()
        return self._document(
            "model",
            title=self.title,
            description=f"{type(model).__name__}, {model.depth} {blocks}",
            origin=model.origin,
            size=list(model.preprocess.size),
            classes=model.num_classes,
            labels=model.labels,
            target=model.outputs.target,
            explanations=explanation_rows(model, self.layouts),
            faithfulness=self.faithfulness,
            samples=thumbnails,
            walk=why_no_walk(model),
            sentences=self.clip is not None,
            second="" if self.second is None else self.second.title,
            live=None,
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

    @checked
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
            layers, reason = self.layers, why_layers_are_missing(self.model, self.layouts)
            features = self.model.features(inputs)
            logits = self.model.head(self.model.pool(features))
            if not bool(logits.isfinite().all()):
                raise DataError(
                    f"{name}: the model's output is NaN or infinite: check its weights."
                )
            lens = lens_values(self.model, inputs) if self.model.num_classes else None
            picture = data_url(self._crops[key])
        return self._document(
            "trace",
            id=key,
            title=name,
            picture=picture,
            size=list(inputs.shape[-2:]),
            grid=list(features.grid),
            layers=layers,
            reason=reason,
            predictions=prediction_rows(self.model, logits),
            lens=lens,
            targets=None,
            walk_patch=None,  # any
        )

    @checked
    def attention_document(
        self, key: str, layer: int, *, baseline: bool = False
    ) -> dict[str, object]:
        """Attention weights of a layer, from all its queries to all its keys.

        Args:
            key: the picture's id.
            layer: position among the layers of the trace; negative ones count from the end.
            baseline: whether to give the mean weights of the picture with its patches shuffled,
                which are what position alone decides.

        Returns:
            A document with an array (heads, P + N, P + M), prefix tokens first, or of a layer
            with windows (heads, windows, T, T).

        Raises:
            ConfigError: there is no such picture or layer.
            TierError: the model has no map of its attention.
        """
        with self._running(key) as inputs, torch.inference_mode():
            name, layout = self._layer(layer)
            if baseline:
                weights = shuffled_weights(self.model, inputs, name)
            else:
                with record(self.model, layers=[name]) as maps:
                    self.model.encode(self.model.embed(inputs))
                weights = maps[name]
        return self._document(
            "attention",
            id=key,
            layer=layer,
            baseline=baseline,
            grid=list(layout.grid),
            key_grid=list(layout.key_grid),
            prefix=layout.prefix,
            cells=None if layout.cells is None else layout.cells.tolist(),
            array=encode_array(layout.by_head(weights)),
        )

    @checked
    def walk_document(self, key: str, layer: int, patch: int) -> dict[str, object]:
        """The numbers of one forward pass, for the guided walk.

        Args:
            key: the picture's id.
            layer: index of the block.
            patch: index of the patch, row by row.

        Returns:
            A document with what `walk_values` gives.

        Raises:
            ConfigError: there is no such picture, block or patch.
            TierError: the model is no plain ViT.
        """
        with self._running(key) as inputs:
            values = walk_values(self.model, inputs, layer, patch)
        return self._document("walk", id=key, layer=layer, **values)

    @checked
    def scan_document(self, key: str, layer: int) -> dict[str, object]:
        """The order and the memory of the scans of a Mamba layer.

        Args:
            key: the picture's id.
            layer: position among the layers of the trace; negative ones count from the end.

        Returns:
            A document with what `scan_values` gives.

        Raises:
            ConfigError: there is no such picture or layer.
            TierError: the layer is no Mamba.
        """
        with self._running(key) as inputs:
            name, layout = self._layer(layer)
            values = scan_values(self.model, inputs, recorded_mixers(self.model)[name])
        return self._document(
            "scan", id=key, layer=layer, grid=list(layout.grid), prefix=layout.prefix, **values
        )

    @checked
    def text_document(self, key: str, text: str) -> dict[str, object]:
        """Cosine similarity of a sentence to each patch and to the whole picture, by CLIP.

        Args:
            key: the picture's id.
            text: the sentence, of at most 300 characters.

        Returns:
            A document with an array (rows, columns), and the `cosine` to the whole picture.

        Raises:
            ConfigError: there is no such picture, or no sentence.
            TierError: the model reads no text.
        """
        if self.clip is None:
            raise TierError(f"this {type(self.model).__name__} reads no text: open a CLIP.")
        if not 0 < len(text.strip()) <= LONGEST_TEXT:
            raise ConfigError(f"a sentence of 1 to {LONGEST_TEXT} characters is needed.")
        with self._running(key) as inputs, torch.inference_mode():
            cosine = self.clip.similarity(inputs, [text])[0, 0].item()
            array = encode_array(text_similarity(self.clip, inputs, [text])[0, 0])
        return self._document("text", id=key, text=text, cosine=cosine, array=array)

    @checked
    def similarity_document(self, key: str) -> dict[str, object]:
        """Cosine similarity between the features of all patches, as `similarity` of lens.

        Args:
            key: the picture's id.

        Returns:
            A document with an array (N, N) over the `grid`.

        Raises:
            ConfigError: there is no such picture.
        """
        with self._running(key) as inputs, torch.inference_mode():
            (features,) = self.model.intermediates(inputs, [-1])
            patches = patch_directions(features.patches.float())[0]
            array = encode_array(patches @ patches.T)
        return self._document("similarity", id=key, grid=list(features.grid), array=array)

    @checked
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

    @functools.cached_property
    def layouts(self) -> dict[LayerKey, AttentionLayout | str]:
        """The layouts of the attention layers, the same for every picture; empty without any."""
        like, size = next(self.model.parameters()), self.model.preprocess.size
        try:
            return attention_layouts(self.model, like.new_zeros(1, self.model.channels, *size))
        except TierError:
            return {}

    @functools.cached_property
    def layers(self) -> list[dict[str, object]]:
        """What the page is told of each layer that has maps."""
        return layer_rows(self.model, self.layouts)

    def _layer(self, layer: int) -> tuple[LayerKey, AttentionLayout]:
        """The key and the layout of a layer by its position among those with maps."""
        with_maps = [
            (name, layout)
            for name, layout in self.layouts.items()
            if isinstance(layout, AttentionLayout)
        ]
        if not with_maps:
            raise TierError(f"this {type(self.model).__name__} has no maps of its attention.")
        return with_maps[select_position(layer, len(with_maps))]

    @contextlib.contextmanager
    def _running(self, key: str) -> Iterator[Tensor]:
        """The normalized picture (1, C, H, W), while no other thread computes."""
        with self._lock:
            if key not in self._crops:
                raise ConfigError(f"id={key[:40]!r}: no such picture is open; open it again.")
            self._crops.move_to_end(key)
            like = next(self.model.parameters())
            yield self.model.preprocess.normalise(self._crops[key][None]).to(like)

    def _document(self, kind: str, **values: Any) -> dict[str, object]:
        return {"format": FORMAT, "version": VERSION, "kind": kind, **values}
