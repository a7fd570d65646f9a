"""CLIP: images and their captions in one embedding space (Radford et al. 2021,
https://arxiv.org/abs/2103.00020), and SigLIP (Zhai et al. 2023, https://arxiv.org/abs/2303.15343).

    image ─ backbone ─ pool ─ projection ─ normalize ─ (B, E) ┐
                                                              ├ · scale ─ (B, B) ─ loss
    text ─ words + position ─ depth × Block ─ norm ─ one token ─ projection ─ normalize ─ (B, E) ┘

With the softmax loss each image must find its caption among the batch's, and each caption its
image. With the sigmoid loss every pair is classified by itself, as matching or not. The result
classifies images by any words.

Common mistakes:
- The feature of the text is read from the first token, which under a causal mask has attended to
  nothing, or from padding. CLIP reads the end-of-text token. SigLIP reads the last position
  whatever stands there, and needs captions padded as in training, without a mask.
- Embeddings are not normalized, or only one of the two softmaxes is computed.
- The temperature itself is learned and not its logarithm, or it has no upper limit.
- The causal mask is missing where the weights were trained with one.
- Logits are in half precision, where a scale of 100 leaves two digits.
- Captions that say the same in one batch are false negatives. Equal ones only raise the floor of
  the softmax loss, for their images share them. The sigmoid loss pushes each away from its twin's
  images (see `share`). Captions that say the same in other words are pushed away by both.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import ACTIVATIONS
from vitrail.methods.base import Batch, Loss
from vitrail.methods.distributed import gather, rank
from vitrail.methods.pretraining import Pretraining
from vitrail.methods.text_tower import TextTower
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.prompts import TEMPLATES, check_templates, fill_template
from vitrail.values import NonNegativeInt, PositiveInt

MAX_LOG_SCALE = math.log(100)  # with the softmax loss


class PairLogits(NamedTuple):
    """What OpenAI's CLIP returns when it is called with images and texts.

    Args:
        logits_per_image: (B, T).
        logits_per_text: (T, B).

    Example:
        >>> PairLogits(torch.zeros(2, 3), torch.zeros(3, 2)).logits_per_text.shape
        torch.Size([3, 2])
    """

    logits_per_image: Tensor
    logits_per_text: Tensor


class CLIP(Pretraining):
    """Trains a backbone and a text tower so that images and their captions have equal embeddings.

    Args:
        backbone: model to train, the image tower.
        tokenizer: function from texts to ids (B, L) with the attributes `vocabulary`, `context` and
            `end`, as `vitrail.data.text.Tokenizer` has. In a recipe: "openai", a tokenizer.json, or
            "train:SIZE".
        loss: "softmax" is CLIP's; "sigmoid" is SigLIP's, which also learns a bias.
        embed_dim: width E of the embedding space; 0 for the backbone's pooled features unprojected.
        text_dim: width of the text tower's tokens.
        text_depth: number of the text tower's blocks.
        text_heads: number of attention heads per block of the text tower.
        text_mlp_dim: hidden width of the text tower's MLPs; None for 4 · text_dim.
        text_pool: "end" is CLIP's: attention is causal and the end-of-text token is read. "last" is
            SigLIP's: attention is bidirectional and the last token is read, padding or not.
        text_activation: "gelu"; "quick_gelu" is OpenAI's; "gelu_tanh" is SigLIP's.
        share: whether the sigmoid loss takes equal captions as matching each other's images, for
            captions made from labels recur in every batch. False is the paper's. It does not change
            the softmax loss.
        templates: prompts with {} for a label. Captions of labels are made with them, and
            classifiers of captions.

    Raises:
        ConfigError: a template has no {}, or the tokenizer lacks an attribute.

    Example:
        >>> def tokenizer(texts):
        ...     return torch.tensor([[len(text) % 10, 15] for text in texts])
        >>> tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 2, 15
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=0, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> clip = CLIP(model, tokenizer, embed_dim=4, text_dim=8, text_depth=1, text_heads=2)
        >>> clip.similarity(torch.zeros(3, 3, 8, 8), ["a cat", "a dog"]).shape
        torch.Size([3, 2])
    """

    paper = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        "Radford et al.",
        2021,
        "https://arxiv.org/abs/2103.00020",
        change="Images and captions in one space: words name the classes.",
    )
    inputs = ("images", "captions")
    batch_wide = True
    smallest_batch = 2  # one image has only its own caption to find
    named: ClassVar[Mapping[str, str]] = {"tokenizer": "text_tokenizer"}

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Callable[[list[str]], Tensor],
        loss: Literal["softmax", "sigmoid"] = "softmax",
        embed_dim: NonNegativeInt = 512,
        text_dim: PositiveInt = 512,
        text_depth: PositiveInt = 12,
        text_heads: PositiveInt = 8,
        text_mlp_dim: PositiveInt | None = None,
        text_pool: Literal["end", "last"] = "end",
        text_activation: Literal["gelu", "quick_gelu", "gelu_tanh"] = "gelu",
        share: bool = True,
        templates: tuple[str, ...] = TEMPLATES,
    ) -> None:
        super().__init__(backbone, reads="pooled")
        check_templates(templates)
        self.tokenizer, self.share, self.templates = tokenizer, share, templates
        self.image_proj: nn.Module = nn.Identity()
        if embed_dim:
            self.image_proj = Linear(backbone.pooled_dim, embed_dim, bias=False)
            nn.init.normal_(self.image_proj.weight, std=backbone.pooled_dim**-0.5)
        self.text = TextTower(
            _size_of(tokenizer, "vocabulary"),
            _size_of(tokenizer, "context"),
            _size_of(tokenizer, "end") if text_pool == "end" else None,
            text_dim,
            text_depth,
            text_heads,
            text_mlp_dim or 4 * text_dim,
            embed_dim or backbone.pooled_dim,
            ACTIVATIONS[text_activation],
        )
        sigmoid = loss == "sigmoid"
        self.log_scale = nn.Parameter(torch.tensor(math.log(10 if sigmoid else 1 / 0.07)))
        # Most pairs do not match: a first bias that says so to all keeps the sigmoid loss small.
        self.bias = nn.Parameter(torch.tensor(-10.0)) if sigmoid else None
        like = next(backbone.parameters())
        self.to(like.device, like.dtype)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and captions, ids (B, L) → Loss.

        The images of this process are compared with the captions of all, and the mean of the
        processes' losses is that of the whole batch.
        """
        image = self.encode_image(batch["images"])
        text = self.encode_text(batch["captions"])
        captions = gather(batch["captions"])
        own = torch.arange(len(image), device=image.device) + rank() * len(image)
        caption_id = captions.unique(dim=0, return_inverse=True)[1]  # equal captions have one id
        with torch.autocast(image.device.type, enabled=False):
            logits = self._logits(image, gather(text))
            if self.bias is None:
                text_logits = self._logits(text, gather(image))
                loss = (F.cross_entropy(logits, own) + F.cross_entropy(text_logits, own)) / 2
            else:
                pair_id = caption_id if self.share else torch.arange(len(captions)).to(own)
                matches = pair_id[own, None] == pair_id
                loss = -F.logsigmoid(torch.where(matches, logits, -logits)).sum() / len(own)
        accuracy = (caption_id[own] == caption_id[logits.argmax(dim=1)]).float().mean()
        return Loss(loss, {"top1": accuracy, "scale": self.log_scale.detach().exp()})

    @torch.no_grad()
    def after_step(self) -> None:
        """Keeps the scale of the softmax loss at 100 or less."""
        if self.bias is None:
            self.log_scale.clamp_(max=MAX_LOG_SCALE)

    def encode_image(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → embeddings (B, E) of length 1."""
        return embed_images(self.backbone, self.image_proj, images)

    def encode_text(self, texts: Tensor | Sequence[str]) -> Tensor:
        """Embeddings of texts.

        Args:
            texts: ids (B, L), B texts, or one text.

        Returns:
            (B, E), each of length 1.

        Raises:
            ConfigError: there are no texts, or one is no string.
            DataError: the ids are none of the vocabulary.
        """
        ids = texts if isinstance(texts, Tensor) else self._tokenize(texts)
        self.text.check_ids(ids)
        distinct, index = ids.unique(dim=0, return_inverse=True)  # each is encoded once
        return F.normalize(at_least_float32(self.text(distinct)), dim=-1)[index]

    def logits(self, images: Tensor, texts: Tensor | Sequence[str]) -> Tensor:
        """Logits of images and texts.

        Args:
            images: (B, C, *size).
            texts: ids (T, L), or T texts.

        Returns:
            (B, T).
        """
        image, text = self.encode_image(images), self.encode_text(texts)
        with torch.autocast(image.device.type, enabled=False):
            return self._logits(image, text)

    def pair_logits(self, images: Tensor, texts: Tensor | Sequence[str]) -> PairLogits:
        """Logits both ways: `per_image, per_text = clip.pair_logits(images, texts)`.

        Args:
            images: (B, C, *size).
            texts: ids (T, L), or T texts.

        Returns:
            Logits (B, T), and the same (T, B).
        """
        logits = self.logits(images, texts)
        return PairLogits(logits, logits.T)

    @torch.no_grad()
    def similarity(self, images: Tensor, texts: Tensor | Sequence[str]) -> Tensor:
        """images (B, C, *size), ids (T, L) or T texts → cosines (B, T)."""
        return self.encode_image(images) @ self.encode_text(texts).T

    @torch.no_grad()
    def zero_shot(
        self, labels: Sequence[str], templates: Sequence[str] | None = None
    ) -> "ZeroShotClassifier":
        """A classifier of images by the names of labels.

        The direction of a label is the normalized mean of its prompts' embeddings. These have
        length 1, so that each prompt has the same weight. Without normalizing the mean, labels
        whose prompts agree more would get larger logits.

        Args:
            labels: names of the classes.
            templates: prompts with {} for a label; None for the method's own.

        Returns:
            A module from images to logits (B, labels).

        Raises:
            ConfigError: there are no labels, or a template has no {}.
        """
        labels = to_strings("labels", labels)
        templates = self.templates if templates is None else to_strings("templates", templates)
        check_templates(templates)
        rows = [
            self.encode_text([fill_template(template, label) for template in templates]).mean(dim=0)
            for label in labels
        ]
        directions = F.normalize(torch.stack(rows), dim=-1) * self.log_scale.exp()
        return ZeroShotClassifier(self.backbone, self.image_proj, directions, labels)

    def classifier(self, backbone: Backbone) -> nn.Module | None:
        """backbone → the zero-shot classifier of its labels; None where it has none."""
        if not backbone.labels:
            return None
        classifier = self.zero_shot(backbone.labels)
        classifier.backbone = backbone
        return classifier

    def _tokenize(self, texts: Sequence[str]) -> Tensor:
        ids = self.tokenizer(to_strings("texts", texts))
        if not isinstance(ids, Tensor):
            raise ConfigError(
                f"the tokenizer gives a {type(ids).__name__}: let it give a tensor of ids "
                "(texts, context)."
            )
        return ids.to(self.log_scale.device)

    def _logits(self, image: Tensor, text: Tensor) -> Tensor:
        logits = self.log_scale.exp() * image @ text.T
        return logits if self.bias is None else logits + self.bias


def to_strings(name: str, texts: Iterable[str]) -> list[str]:
    """A list of texts, where one text is a list of one.

    Args:
        name: what they are, for the error.
        texts: one text, or some.

    Returns:
        The list.

    Raises:
        ConfigError: there are none, or one is no text.

    Example:
        >>> to_strings("labels", "cat")
        ['cat']
    """
    if isinstance(texts, str):
        return [texts]
    listed = list(texts) if isinstance(texts, Iterable) else [texts]
    if not listed or not all(isinstance(text, str) for text in listed):
        raise ConfigError(f"{name}={texts!r} are no strings: give some, such as ['cat', 'dog'].")
    return listed


class ZeroShotClassifier(nn.Module):
    """Logits of images by fixed directions in the embedding space.

    Args:
        backbone: the image tower.
        projection: module from pooled features to the embedding space.
        directions: (labels, E), multiplied by the scale of the logits.
        labels: names of the classes, for files that the classifier is exported to; None for none.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=0, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> classifier = ZeroShotClassifier(model, nn.Identity(), torch.eye(8)[:3])
        >>> classifier(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        backbone: Backbone,
        projection: nn.Module,
        directions: Tensor,
        labels: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.projection, self.labels = backbone, projection, labels
        self.register_buffer("directions", directions)
        self.directions: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, labels)."""
        return embed_images(self.backbone, self.projection, images) @ self.directions.T


def embed_images(backbone: Backbone, projection: nn.Module, images: Tensor) -> Tensor:
    """Embeddings of images, in float32 or better.

    Args:
        backbone: the image tower.
        projection: module from pooled features to the embedding space.
        images: (B, C, *size).

    Returns:
        (B, E), each of length 1.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=0, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> embeddings = embed_images(model, nn.Identity(), torch.zeros(2, 3, 8, 8))
        >>> torch.allclose(embeddings.norm(dim=1), torch.ones(2))
        True
    """
    pooled = backbone.pool(backbone.features(images))
    return F.normalize(at_least_float32(projection(pooled)), dim=-1)


def _size_of(tokenizer: Any, name: str) -> int:
    value = getattr(tokenizer, name, None)
    if not isinstance(value, int) or value < 0:
        raise ConfigError(
            f"tokenizer={tokenizer!r} has no {name}: give a vitrail.data.text.Tokenizer, or a "
            "function with whole numbers vocabulary, context and end."
        )
    return value
