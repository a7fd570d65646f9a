"""CLIP: images and their captions in one space (Radford et al. 2021,
https://arxiv.org/abs/2103.00020), and SigLIP (Zhai et al. 2023, https://arxiv.org/abs/2303.15343).

    image ─ backbone ─ pool ─ projection ─ length 1 ─ (B, E) ┐
                                                             ├ · scale ─ (B, B) ─ loss
    text ─ words + position ─ depth × Block ─ norm ─ one token ─ projection ─ length 1 ─ (B, E) ┘

Each image must find its caption among the batch's and each caption its image: two softmaxes; or
every pair is judged for itself, right or not: a sigmoid. What comes out names images by any words.

Common mistakes: the text's feature taken from the first token, which under a causal mask has read
nothing, or from padding (CLIP's is the end-of-text token's; SigLIP reads the last place whatever
stands there, and so needs captions padded as in training, and no mask); features that are not
brought to length 1; one of the two softmaxes alone; a temperature learned as it is and not as its
logarithm, or left to grow without bounds; no causal mask where the weights were trained with one;
logits in half precision, where a scale of 100 leaves them two digits. And captions that say the
same in one batch are wrong answers that are right. Of equal ones the softmax asks that their images
share them, which only puts a floor under the loss; the sigmoid pushes each away from its twin's
images (see `share`); those in other words are pushed away by both.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_choice, check_range
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import ACTIVATIONS, Mlp
from vitrail.methods.base import Loss, Pretraining
from vitrail.methods.distributed import gather, rank
from vitrail.models.base import Backbone, initialise
from vitrail.models.paper import Paper

TEMPLATES = (
    "a photo of a {}.", "a photo of the {}.", "a picture of a {}.", "an image of a {}.",
    "a good photo of a {}.", "a close-up photo of a {}.", "a photo of a small {}.", "a {}.",
)  # fmt: skip
HIGHEST = math.log(100)  # of the scale's logarithm, with the softmax


class CLIP(Pretraining):
    """Trains a backbone beside a text tower, so that images and their captions come to agree.

    Args:
        tokenizer: texts → ids (B, L), which knows its `vocabulary`, `context` and `end`, as
            `vitrail.data.text.Tokenizer` does. In a recipe "openai", a tokenizer.json, or
            "train:SIZE".
        loss: "softmax", CLIP's; "sigmoid", SigLIP's, which has a bias, too.
        embed_dim: width of the common space; 0: of the backbone's pooled features as they are.
        text_dim, text_depth, text_heads, text_mlp_dim: of the text tower; None: 4 · text_dim.
        text_pool: "end", CLIP's: tokens look back only, and the end-of-text token is read; "last",
            SigLIP's: tokens look both ways, and the last is read, padding or not.
        text_activation: "gelu"; "quick_gelu", OpenAI's; "gelu_tanh", SigLIP's.
        share: the sigmoid takes equal captions for right of each other's images, as captions made
            from labels recur in every batch. False: an image's own only, as in the paper. To the
            softmax it is the same: twins have one embedding, and what one gains the other loses.
        templates: prompts with {} for a label. Captions are made from labels by these, and
            classifiers from captions.
    """

    paper = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        "Radford et al.",
        2021,
        "https://arxiv.org/abs/2103.00020",
    )

    reads = "pooled"
    views = "text"

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Callable[[list[str]], Tensor],
        loss: str = "softmax",
        embed_dim: int = 512,
        text_dim: int = 512,
        text_depth: int = 12,
        text_heads: int = 8,
        text_mlp_dim: int | None = None,
        text_pool: str = "end",
        text_activation: str = "gelu",
        share: bool = True,
        templates: tuple[str, ...] = TEMPLATES,
    ) -> None:
        super().__init__(backbone)
        check_choice("loss", loss, ("softmax", "sigmoid"))
        check_choice("text_pool", text_pool, ("end", "last"))
        check_choice("text_activation", text_activation, tuple(ACTIVATIONS))
        check_range("embed_dim", embed_dim, 0)
        check_range("text_depth", text_depth, 1)
        if bad := [t for t in templates if "{}" not in t]:
            raise ConfigError(f"template {bad[0]!r} has no place for a label: write {{}} there.")
        if not templates:
            raise ConfigError("templates=() make no caption: give one, such as 'a photo of a {}.'")
        self.tokenizer, self.loss_kind = tokenizer, loss
        self.share, self.templates = share, tuple(templates)
        self.image_proj: nn.Module = nn.Identity()
        if embed_dim:
            self.image_proj = Linear(backbone.pooled_dim, embed_dim, bias=False)
            nn.init.normal_(self.image_proj.weight, std=backbone.pooled_dim**-0.5)
        self.text = TextTower(
            _known(tokenizer, "vocabulary"),
            _known(tokenizer, "context"),
            _known(tokenizer, "end") if text_pool == "end" else None,
            text_dim,
            text_depth,
            text_heads,
            text_mlp_dim or 4 * text_dim,
            embed_dim or backbone.pooled_dim,
            ACTIVATIONS[text_activation],
        )
        sigmoid = loss == "sigmoid"
        self.log_scale = nn.Parameter(torch.tensor(math.log(10 if sigmoid else 1 / 0.07)))
        # Most pairs are wrong: at first the sigmoid says no to all, and the loss is small.
        self.bias = nn.Parameter(torch.tensor(-10.0)) if sigmoid else None
        like = next(backbone.parameters())
        self.to(like.device, like.dtype)

    def forward(self, images: Tensor, targets: Tensor) -> Loss:
        """images float (B, C, *size); targets, their captions' ids (B, L).

        Compares this process's with those of all: their losses' mean is that of the whole batch.
        """
        image, text = self.encode_image(images), self.encode_text(targets)
        every = gather(targets)
        own = torch.arange(len(image), device=image.device) + rank() * len(image)
        # Equal captions have one number.
        which = every.unique(dim=0, return_inverse=True)[1]
        with torch.autocast(image.device.type, enabled=False):
            logits = self._logits(image, gather(text))
            if self.bias is None:
                down = self._logits(text, gather(image))
                loss = (F.cross_entropy(logits, own) + F.cross_entropy(down, own)) / 2
            else:
                number = which if self.share else torch.arange(len(every), device=own.device)
                right = number[own, None] == number
                loss = -F.logsigmoid(torch.where(right, logits, -logits)).sum() / len(own)
        found = (which[own] == which[logits.argmax(dim=1)]).float().mean()
        return Loss(loss, {"top1": found, "scale": self.log_scale.detach().exp()})

    @torch.no_grad()
    def after_step(self) -> None:
        """Keeps the softmax's scale below 100."""
        if self.bias is None:
            self.log_scale.clamp_(max=HIGHEST)

    def encode_image(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → (B, E) of length 1."""
        return embed(self.backbone, self.image_proj, images)

    def encode_text(self, texts: Tensor | Sequence[str]) -> Tensor:
        """Ids (B, L), or B texts → (B, E) of length 1."""
        if not isinstance(texts, Tensor):
            texts = self.tokenizer(list(texts)).to(self.log_scale.device)
        each, which = texts.unique(dim=0, return_inverse=True)  # those that recur, once
        return F.normalize(_exact(self.text(each)), dim=-1)[which]

    def logits(self, images: Tensor, texts: Tensor | Sequence[str]) -> Tensor:
        """images (B, C, *size), and ids (T, L) or T texts → logits (B, T)."""
        image, text = self.encode_image(images), self.encode_text(texts)
        with torch.autocast(image.device.type, enabled=False):
            return self._logits(image, text)

    @torch.no_grad()
    def similarity(self, images: Tensor, texts: Tensor | Sequence[str]) -> Tensor:
        """images (B, C, *size), and ids (T, L) or T texts → cosines (B, T), for a picture."""
        return self.encode_image(images) @ self.encode_text(texts).T

    @torch.no_grad()
    def zero_shot(
        self, labels: Sequence[str], templates: Sequence[str] | None = None
    ) -> "ZeroShot":
        """A classifier of images by the names of labels: images → logits (B, labels).

        A label's direction is the mean of its prompts' embeddings. These have length 1, so that
        each prompt counts alike; so has the mean, or labels whose prompts agree more would get
        larger logits for nothing.
        """
        rows = []
        for label in labels:
            prompts = [
                t.replace("{}", label.replace("_", " ")) for t in templates or self.templates
            ]
            rows.append(self.encode_text(prompts).mean(dim=0))
        directions = F.normalize(torch.stack(rows), dim=-1)
        return ZeroShot(self.backbone, self.image_proj, directions * self.log_scale.exp())

    def classifier(self, backbone: Backbone) -> nn.Module | None:
        """`zero_shot` of the labels that `backbone` knows; None where it knows none."""
        if not backbone.labels:
            return None
        classifier = self.zero_shot(backbone.labels)
        classifier.backbone = backbone
        return classifier

    def _logits(self, image: Tensor, text: Tensor) -> Tensor:
        logits = self.log_scale.exp() * image @ text.T
        return logits if self.bias is None else logits + self.bias


class ZeroShot(nn.Module):
    """Logits of images by directions (labels, E) in the common space, scale and all."""

    def __init__(self, backbone: Backbone, projection: nn.Module, directions: Tensor) -> None:
        super().__init__()
        self.backbone, self.projection = backbone, projection
        self.register_buffer("directions", directions)
        self.directions: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, labels)."""
        return embed(self.backbone, self.projection, images) @ self.directions.T


class TextTower(nn.Module):
    """A Transformer over tokens, of which one is read.

    end: the id to read at, where tokens look back only; None: the last place, both ways.
    dim_out: width of the embedding. As in the papers, the projection has a bias in the latter case
    only, and ε of the LayerNorms is 1e-5 or 1e-6.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        end: int | None,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        dim_out: int,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.context, self.end = context, end
        norm_eps = 1e-6 if end is None else 1e-5
        self.words = nn.Parameter(torch.empty(vocabulary, dim))
        self.position = nn.Parameter(torch.empty(context, dim))
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads),
                Mlp(dim, mlp_dim, activation=activation()),
                norm_eps=norm_eps,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.proj = Linear(dim, dim_out, bias=end is None)
        self.init_weights()

    def init_weights(self) -> None:
        """As CLIP's authors: what enters the residual stream is the smaller, the deeper it is."""
        initialise(self)
        dim, added = self.words.shape[1], (2 * len(self.blocks)) ** -0.5
        stds = [(self.words, 0.02), (self.position, 0.01), (self.proj.weight, dim**-0.5)]
        for part in self.blocks:
            block: Any = part
            mixer, mlp = block.mixer, block.mlp
            stds += [(mixer.qkv.weight, dim**-0.5), (mixer.proj.weight, dim**-0.5 * added)]
            stds += [(mlp.fc1.weight, (2 * dim) ** -0.5), (mlp.fc2.weight, dim**-0.5 * added)]
        for weight, std in stds:
            nn.init.normal_(weight, std=std)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L), L at most `context` → (B, E), of any length."""
        if ids.shape[1] > self.context:
            raise ConfigError(
                f"captions of {ids.shape[1]} tokens are longer than the context, {self.context}: "
                "cut them."
            )
        mask = None
        if self.end is None:
            read = ids.new_full((len(ids),), ids.shape[1] - 1)
        else:
            read = (ids == self.end).int().argmax(dim=1)  # the first one, if padding is the same
            ids = ids[:, : int(read.max()) + 1]  # nobody looks at what stands behind
            length = ids.shape[1]
            mask = self.position.new_full((length, length), -torch.inf).triu(1)
        x = F.embedding(ids, self.words) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, None, mask)
        return self.proj(self.norm(x[torch.arange(len(x), device=x.device), read]))


def embed(backbone: Backbone, projection: nn.Module, images: Tensor) -> Tensor:
    """images (B, C, *size) → (B, E) of length 1, in single precision at least."""
    pooled = backbone.pool(backbone.features(images))
    return F.normalize(_exact(projection(pooled)), dim=-1)


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _known(tokenizer: Any, name: str) -> int:
    value = getattr(tokenizer, name, None)
    if not isinstance(value, int) or value < 0:
        raise ConfigError(
            f"tokenizer={tokenizer!r} knows no {name}: give a vitrail.data.text.Tokenizer, or a "
            "callable with whole numbers vocabulary, context and end."
        )
    return value
