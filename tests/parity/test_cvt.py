"""CvT: what differs in transformers' and in vit-pytorch's."""

import pytest
import transformers
from vit_pytorch.cvt import CvT as TheirCvT

import vitrail
from vitrail.hub.converters.from_transformers import preprocess_of


def test_stochastic_depth_grows_here_and_not_in_transformers() -> None:
    """Theirs gives every block of a stage the rate of the block that has the stage's number."""
    rates = [
        block.drop_path.rate
        for block in vitrail.create_model("cvt_13", drop_path=0.1).blocks[2].blocks
    ]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.1)
    theirs = transformers.CvtForImageClassification(transformers.CvtConfig())
    rates = [layer.drop_path.drop_prob for layer in theirs.cvt.encoder.stages[2].layers]
    assert rates == pytest.approx([0.2 / 9] * 10)
    with pytest.raises(IndexError):
        transformers.CvtForImageClassification(transformers.CvtConfig(depth=[1, 2, 2]))


def test_vit_pytorch_has_no_class_token() -> None:
    names = [name for name, _ in TheirCvT(num_classes=7).named_parameters()]
    assert not [name for name in names if "cls" in name or "token" in name]


@pytest.mark.parametrize(("side", "resize"), [(224, 256), (384, None)])
def test_preprocessing_is_convnexts(side: int, resize: int | None) -> None:
    config = {"size": {"shortest_edge": side}, "crop_pct": 0.875, "resample": 3}
    preprocess = preprocess_of(config)
    assert (preprocess.size, preprocess.resize) == ((side, side), resize)
