"""BEiT: its blocks, what it may see, what it learns, and its tokenizer, which is no part of it."""

import math
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods.masked import assert_no_leak
from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError, DataError, LoadError
from vitrail.hub.method_folder import load_method
from vitrail.methods.base import Batch
from vitrail.methods.beit import BEiTPretraining
from vitrail.methods.dvae import DVAE
from vitrail.methods.frozen import Frozen
from vitrail.methods.masking import block_mask, random_mask
from vitrail.models.vit import ViT
from vitrail.train.factory import train_run


def edges(masks: Tensor) -> float:
    """How many neighbours in a row or column differ, the mean over masks (B, H, W)."""
    across = (masks[:, 1:] != masks[:, :-1]).sum() + (masks[..., 1:] != masks[..., :-1]).sum()
    return across.item() / len(masks)


def authors_mask(side: int, wanted: int) -> Tensor:
    """Algorithm 1 as the authors run it, step by step: up to `wanted` places, in blocks."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    while (left := wanted - int(mask.sum())) > 0:
        for _ in range(10):
            area = random.uniform(16, left)
            aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
            height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if height < side and width < side:
                top, begin = random.randint(0, side - height), random.randint(0, side - width)
                block = mask[top : top + height, begin : begin + width]
                if 0 < (~block).sum() <= left:
                    block.fill_(True)
                    break
        else:
            break
    return mask


@pytest.mark.parametrize(
    "grid", [(14, 14), (4, 4), (7, 7), (2, 2), (1, 3), (3, 9), (24, 16), (64,)]
)
def test_all_samples_hide_the_same_number(grid: tuple[int, ...]) -> None:
    places = math.prod(grid)
    mask = block_mask(64, grid, 0.4)
    assert mask.shape == (64, places)
    assert mask.dtype == torch.bool
    assert (mask.sum(1) == places - int(places * 0.6)).all()
    assert len({tuple(row) for row in mask.tolist()}) > min(places, 10) / 2  # they differ


def test_blocks_are_the_authors() -> None:
    random.seed(0)
    ours = block_mask(300, (14, 14), 75 / 196).unflatten(1, (14, 14))
    theirs = torch.stack([authors_mask(14, 75) for _ in range(300)])
    scattered = random_mask(300, (14, 14), 75 / 196).unflatten(1, (14, 14))
    assert abs(edges(ours) / edges(theirs) - 1) < 0.15
    assert edges(ours) < edges(scattered) / 2
    # The middle is hidden oftener than the corners, as often as theirs.
    for place in ((slice(None), 6, 6), (slice(None), 0, 0), (slice(None), 0, 7)):
        assert abs(ours[place].float().mean() - theirs[place].float().mean()) < 0.12


def test_signals_hide_runs_and_videos_the_same_in_every_frame() -> None:
    runs = block_mask(32, (64,), 0.4)
    assert (runs[:, 1:] != runs[:, :-1]).sum(1).float().mean() < 12  # 26 of 64 at random: 31
    frames = block_mask(8, (3, 6, 6), 0.4).unflatten(1, (3, 36))
    assert torch.equal(frames[:, 0], frames[:, 2])
    assert (frames[:, 0].sum(1) == 36 - int(36 * 0.6)).all()


def test_the_same_seed_hides_the_same() -> None:
    torch.manual_seed(3)
    first = block_mask(4, (6, 6), 0.4)
    second = block_mask(4, (6, 6), 0.4)
    torch.manual_seed(3)
    assert torch.equal(block_mask(4, (6, 6), 0.4), first)
    assert not torch.equal(first, second)


class Brightness:
    """The code of a patch of 8 x 8 pixels: which quarter of 0..1 its mean is in."""

    vocabulary = 4

    def __call__(self, images: Tensor) -> Tensor:
        means = F.avg_pool2d(images.mean(1), 8).flatten(1)
        return (means * 4).long().clamp(0, 3)


def made(**more: object) -> BEiTPretraining:
    return BEiTPretraining(small("ViT"), Brightness(), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["ViT", "BEiT", "Swin", "CvT", "VisionMamba"])
def test_hidden_pixels_do_not_leak(model: str) -> None:
    method = BEiTPretraining(small(model), lambda _: codes, vocabulary=4)
    mask = method.sample_mask(2)
    codes = torch.randint(4, mask.shape)
    assert_no_leak(method, mask)


def test_the_loss_is_of_hidden_codes_alone() -> None:
    method, images = made().double(), torch.rand(3, 3, 32, 32).double()
    mask = method.sample_mask(3)
    codes = torch.randint(4, mask.shape)
    method.tokenizer = Frozen(lambda _: codes)
    loss, metrics = method(Batch(images=images, patch_mask=mask))
    every = torch.empty(0)

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal every
        every = given[0]

    method.head.register_forward_pre_hook(keep)
    method(Batch(images=images, patch_mask=mask))
    assert every.shape[:2] == (3, mask[0].sum())  # the head reads no visible place
    logits = method.head(every).flatten(0, 1)
    assert torch.equal(loss, F.cross_entropy(logits, codes[mask]))
    assert metrics["accuracy"] == (logits.argmax(1) == codes[mask]).float().mean()
    codes[~mask] = (codes[~mask] + 1) % 4
    assert torch.equal(method(Batch(images=images, patch_mask=mask)).loss, loss)
    codes[mask] = (codes[mask] + 1) % 4
    assert not torch.equal(method(Batch(images=images, patch_mask=mask)).loss, loss)


def test_it_learns_what_is_hidden_from_what_is_not() -> None:
    method = made().train()
    optimizer = torch.optim.AdamW(method.parameters(), 2e-3)
    for _ in range(100):
        images = torch.rand(32, 1, 1, 1).expand(32, 3, 32, 32) * 0.999
        optimizer.zero_grad()
        loss, metrics = method(Batch(images=images))
        loss.backward()
        optimizer.step()
    assert metrics["accuracy"] > 0.8  # 0.25 by chance


def test_the_tokenizer_is_no_part() -> None:
    tokenizer = DVAE(small("ViT"), vocabulary=16, code_dim=8)
    method = BEiTPretraining(small("ViT", patch_size=16), tokenizer)
    assert method.head.out_features == 16
    assert not any("tokenizer" in name for name in method.state_dict())
    own = {id(p) for p in method.parameters()}
    assert not own & {id(p) for p in tokenizer.parameters()}
    method.train().double()
    assert not tokenizer.training
    assert not any(p.requires_grad for p in tokenizer.parameters())
    assert tokenizer.codebook.weight.dtype == torch.float64  # it goes where the method goes
    with pytest.raises(DataError, match=r"codes of shape .*needs \(2, 4\): train one on the same"):
        method(Batch(images=torch.randn(2, 3, 32, 32).double()))


def test_bad_settings_say_so() -> None:
    with pytest.raises(ConfigError, match="does not say how many codes it has: set vocabulary"):
        BEiTPretraining(small("ViT"), lambda images: images)
    for more, told in (
        ({"mask": "blocks"}, "mask='blocks' is not one of 'block', 'random'.*Did you mean 'block'"),
        ({"mask_ratio": 1.4}, "mask_ratio=1.4 is not a number of at least 0 and at most 1"),
        ({"mask_ratio": 1.0}, "masks all"),
        ({"vocabulary": 1}, "vocabulary=1 is not a whole number of at least 2"),
    ):
        with pytest.raises(ConfigError, match=told):
            made(**more)


def test_from_images_to_codes_to_beit(tmp_path: Path) -> None:
    """A run of dvae, then one of beit that names it; both are read back whole."""
    more = "schedule.epochs=1", "data.augment.mixup=0", "data.augment.erasing=0", "data.limit=200"
    train_run(
        tiny("method.name=dvae", "method.vocabulary=32", *more, "optim.ema=0"), tmp_path / "codes"
    )
    codes = f"method.tokenizer={tmp_path / 'codes'}"
    train_run(tiny("method.name=beit", codes, *more, "optim.ema=0"), tmp_path / "beit")
    tokenizer, method = load_method(tmp_path / "codes"), load_method(tmp_path / "beit")
    assert isinstance(tokenizer, DVAE)
    assert isinstance(method, BEiTPretraining)
    assert method.head.out_features == 32
    images = torch.randn(2, 1, 8, 8)
    with pytest.raises(LoadError, match="the tokenizer of this method was not saved"):
        method(Batch(images=images))
    again = BEiTPretraining(method.backbone, tokenizer)
    again.load_state_dict(method.state_dict())
    assert again.eval()(Batch(images=images)).loss.isfinite()


def test_half_precision_counts_in_full() -> None:
    method, images = made(), torch.rand(4, 3, 32, 32)
    mask = method.sample_mask(4)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = method(Batch(images=images, patch_mask=mask))
    assert loss.dtype == torch.float32
    assert (loss - method(Batch(images=images, patch_mask=mask)).loss).abs() < 0.05


def test_other_models_of_the_same_grid_may_tokenize() -> None:
    tokenizer = DVAE(ViT(28, 7, 0, 32, 1, 2, 32, channels=1), vocabulary=8, code_dim=8)
    method = BEiTPretraining(ViT(28, 7, 0, 16, 1, 2, 32, channels=1, pool="mean"), tokenizer)
    assert method(Batch(images=torch.randn(3, 1, 28, 28))).loss.isfinite()
