"""The map of the flow on one page, to print: from pixels to logits, and from a folder to a file.

Each box names its shapes for two images and a ViT-B/16, where it is in Vitrail, and its lessons.
"""

from typing import NamedTuple

from vitrail.learn.drawing import Drawing
from vitrail.learn.lesson import Text

WIDTH, HEIGHT, MARGIN, GAP = 1120, 790, 20, 16


class Stop(NamedTuple):
    """A box of the map.

    Args:
        title: what happens.
        lines: formulas, shapes or commands below it.
        file: where it is, below src/vitrail; "" for none.
        lessons: their ids.
        style: its color.

    Example:
        >>> Stop(Text("head", "分类头"), ("(2, 1000)",), "models/base.py").lessons
        ()
    """

    title: Text
    lines: tuple[str, ...] = ()
    file: str = ""
    lessons: tuple[str, ...] = ()
    style: str = "card"


class Lane(NamedTuple):
    """A row of the map.

    Args:
        title: what its boxes show.
        stops: the boxes from left to right.
        arrows: whether each leads to the next.

    Example:
        >>> len(MODEL.stops), MODEL.arrows
        (6, True)
    """

    title: Text
    stops: tuple[Stop, ...]
    arrows: bool = True


MODEL = Lane(
    Text(
        "1 An image becomes logits (shapes of ViT-B/16)",
        "1 从图片到 logits（形状以 ViT-B/16 为例）",
    ),
    (
        Stop(
            Text("image", "图片"),
            ("(2, 3, 224, 224)",),
            "preprocess.py",
            ("foundations/image_as_sequence",),
        ),
        Stop(
            Text("cut into patches", "切成图像块"),
            ("(2, 196, 768)",),
            "layers/patch.py",
            ("core/patch_embed", "core/patch_unfold"),
            "glass faint",
        ),
        Stop(
            Text("class token, positions", "分类 token 与位置编码"),
            ("(2, 197, 768)",),
            "layers/position.py",
            ("core/class_token_positions", "core/sincos", "core/rope"),
            "glass faint",
        ),
        Stop(
            Text("12 blocks", "12 个 block"),
            ("(2, 197, 768)",),
            "layers/block.py",
            ("core/encoder_block", "core/drop_path"),
            "amber faint",
        ),
        Stop(
            Text("norm, class token", "归一化，取分类 token"),
            ("(2, 768)",),
            "models/vit.py",
            ("core/layer_norm", "core/vit"),
            "glass faint",
        ),
        Stop(
            Text("head", "分类头"),
            ("(2, 1000)",),
            "models/base.py",
            ("core/pretrained",),
            "moss faint",
        ),
    ),
)
BLOCK = Lane(
    Text("2 Inside a block of a ViT", "2 ViT 的一个 block 内部"),
    (
        Stop(
            Text("LayerNorm", "LayerNorm"),
            ("(2, 197, 768)",),
            "layers/norm.py",
            ("core/layer_norm", "core/rms_norm"),
        ),
        Stop(
            Text("query, key, value", "查询、键、值"),
            ("3 × (2, 12, 197, 64)",),
            "layers/attention.py",
            ("core/attention", "foundations/einsum"),
            "amber faint",
        ),
        Stop(
            Text("weights", "注意力权重"),
            ("softmax(q kᵀ / √64)", "(2, 12, 197, 197)"),
            "layers/attention.py",
            ("core/scaled_dot_product", "look/attention_map"),
            "amber faint",
        ),
        Stop(
            Text("values, heads joined", "加权求和，拼接各头"),
            ("(2, 197, 768), + x",),
            "layers/attention.py",
            ("core/attention",),
            "amber faint",
        ),
        Stop(
            Text("LayerNorm, MLP", "LayerNorm 与 MLP"),
            ("768 → 3072 → 768, + x",),
            "layers/mlp.py",
            ("core/mlp",),
            "amber faint",
        ),
    ),
)
MAMBA = Lane(
    Text("3 Inside a block of Vision Mamba", "3 Vision Mamba 的一个 block 内部"),
    (
        Stop(Text("RMSNorm", "RMSNorm"), ("(2, 197, 192)",), "layers/norm.py", ("core/rms_norm",)),
        Stop(
            Text("x and gate z", "x 与门控 z"),
            ("2 × (2, 197, 384)",),
            "layers/mamba.py",
            ("mamba/fusion",),
            "ruby faint",
        ),
        Stop(
            Text("Δ, B, C of each token", "每个 token 的 Δ、B、C"),
            ("Ā = exp(Δ A)",),
            "ops/selective_scan/reference.py",
            ("mamba/discretization",),
            "ruby faint",
        ),
        Stop(
            Text("scan, from both ends", "从两端各扫一遍"),
            ("h = Ā h + Δ B x", "y = C h + D x"),
            "ops/selective_scan/op.py",
            ("mamba/selective_scan", "mamba/parallel_scan"),
            "ruby faint",
        ),
        Stop(
            Text("sum · silu(z), project", "求和 · silu(z)，再投影"),
            ("(2, 197, 192), + x",),
            "models/vim.py",
            ("mamba/paired_loop",),
            "ruby faint",
        ),
    ),
)
METHODS = Lane(
    Text("4 What is learned from", "4 用什么来训练"),
    (
        Stop(
            Text("labels", "标签（监督学习）"),
            ("supervised",),
            "methods/supervised.py",
            ("training/mixup", "training/warmup_cosine"),
            "moss faint",
        ),
        Stop(
            Text("masked patches", "被掩码的图像块（自监督）"),
            ("mae, simmim, beit",),
            "methods/mae.py",
            ("without_labels/random_masking", "without_labels/masked_loss"),
            "moss faint",
        ),
        Stop(
            Text("two crops, one teacher", "两个裁剪与 EMA 教师"),
            ("dino",),
            "methods/dino.py",
            ("without_labels/dino_loss", "without_labels/ema_teacher"),
            "moss faint",
        ),
        Stop(
            Text("images and captions", "图文对（对比学习）"),
            ("clip",),
            "methods/clip.py",
            ("without_labels/clip_loss", "without_labels/zero_shot"),
            "moss faint",
        ),
        Stop(
            Text("a teacher", "教师模型（知识蒸馏）"),
            ("distill",),
            "methods/distill.py",
            ("variants/distillation_loss",),
            "moss faint",
        ),
    ),
    arrows=False,
)
COMMANDS = Lane(
    Text("5 From a folder of images to a file that runs", "5 从一个图片文件夹到可部署的文件"),
    (
        Stop(Text("see the data", "看数据"), ("vitrail data", "folder:photos"), "data/registry.py"),
        Stop(
            Text("train", "训练"),
            ("vitrail train", "folder:photos"),
            "train/trainer.py",
            ("training/broken_step",),
            "glass faint",
        ),
        Stop(Text("judge", "评估"), ("vitrail eval RUN",), "train/evaluator.py", (), "glass faint"),
        Stop(
            Text("look inside", "看模型在看什么"),
            ("vitrail look", "vitrail explain"),
            "lens/record.py",
            ("look/rollout", "look/relevance"),
            "amber faint",
        ),
        Stop(
            Text("ship", "部署"),
            ("vitrail export RUN",),
            "deploy/export.py",
            ("shipping/folding",),
            "moss faint",
        ),
    ),
)
LANES = (MODEL, BLOCK, MAMBA, METHODS, COMMANDS)
TITLE = Text("Vitrail: the whole flow on one page", "Vitrail：一页看懂全流程")
FOOT = Text(
    "In each box: shapes or commands, the file in src/vitrail, the lessons (vitrail learn).",
    "每个框里依次是：形状或命令、src/vitrail 中的文件、对应的课程（vitrail learn）。",
)


def flow_map(language: str) -> str:
    """The map as SVG, in the proportions of a sheet of A4 on its side.

    Args:
        language: "en" or "zh".

    Returns:
        The drawing.

    Example:
        >>> flow_map("en").startswith("<svg")
        True
    """
    drawing = Drawing(TITLE.of(language), HEIGHT, WIDTH)
    drawing.text(MARGIN, 30, TITLE.of(language), "bold")
    height = (HEIGHT - 62) / len(LANES)
    for row, lane in enumerate(LANES):
        _draw(drawing, lane, 46 + row * height, height - 36, language)
    drawing.text(MARGIN, HEIGHT - 8, FOOT.of(language), "quiet small")
    return drawing.svg()


def _draw(drawing: Drawing, lane: Lane, top: float, height: float, language: str) -> None:
    """Draws a row: its title at `top`, the boxes below."""
    drawing.text(MARGIN, top + 12, lane.title.of(language), "bold")
    count = len(lane.stops)
    width = (WIDTH - 2 * MARGIN - (count - 1) * GAP) / count
    for column, stop in enumerate(lane.stops):
        left, y = MARGIN + column * (width + GAP), top + 20
        drawing.box(left, y, width, height, style=stop.style)
        if column and lane.arrows:
            drawing.arrow((left - GAP, y + height / 2), (left - 1, y + height / 2))
        drawing.text(left + width / 2, y + 16, stop.title.of(language), "middle bold")
        lines = [(line, "middle code small") for line in stop.lines]
        lines += [(stop.file, "middle quiet tiny")] if stop.file else []
        lines += [(lesson.partition("/")[2], "middle quiet tiny") for lesson in stop.lessons]
        for number, (line, style) in enumerate(lines):
            drawing.text(left + width / 2, y + 32 + 13 * number, line, style)
