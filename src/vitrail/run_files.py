"""What is in a run's folder, and what its JSON holds, read without trusting it."""

from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.foreign import Schema, check_header, check_schema, parse_json, read_json, read_text

LOCK = ".lock"  # held while a process trains
WRITTEN = (  # all that runs write
    "run.yaml", "command.txt", "summary.json", "bad_images.txt", "metrics.jsonl", "timing.jsonl",
    "monitor.jsonl",
    "evaluation.json", "evaluation.safetensors", "classes.csv", "report.html",
    "images/*-????????.png",
    "model/config.json", "model/model.safetensors", "model/manifest.json", "initial/config.json",
    "initial/model.safetensors", "initial/manifest.json", "method/method.json",
    "method/method.safetensors", "method/manifest.json", "method/*tokenizer.json",
    "best/step-????????/method.safetensors", "best/step-????????/manifest.json",
    "checkpoints/step-*/*.safetensors", "checkpoints/step-*/state.json",
    "checkpoints/step-*/manifest.json",
    "tensorboard/events.out.tfevents.*", LOCK,
)  # fmt: skip

MAX_LINES = 2**30  # bytes of a file of JSON lines
_FIGURE = (int, float, str, type(None))
_NAMES = (int, str, list)  # of the classes of an image, or its numbers
METRICS: Schema = {"step": int, "split": str, "*": (int, float)}
MONITOR: Schema = {
    "step": int, "measures?": {"*": {"*": float}}, "heads?": {"*": {"*": [float]}},
    "kind?": str, "part?": str, "head?": (int, type(None)), "since?": int, "value?": float,
    "text?": str,
}  # fmt: skip
TIMING: Schema = {"step": int, "seconds": float, "images_per_second": float}
NOTE: Schema = {"date": str, "text": str}
_PICTURE: Schema = {
    "image": int, "name": str, "truth": _NAMES, "predicted": _NAMES, "*": (int, float),
}  # fmt: skip
EVALUATION: Schema = {
    "labels?": [str], "confusion?": [[int]], "classes?": [{"label": str, "*": _FIGURE}],
    "mistakes?": [_PICTURE], "examples?": [_PICTURE], "points?": [[[float]]],
    "scores?": {"*": float}, "per_class?": [float], "split?": str, "baseline?": {"*": _FIGURE},
    "weights?": str, "evaluated_by?": str, "count?": int, "*": _FIGURE,
}  # fmt: skip
EXPLANATIONS: Schema = {
    "explanations": [{
        "explanation": str, "deletion": float, "deletion_error": float, "insertion": float,
        "insertion_error": float, "correlation": (float, type(None)),
        "correlation_error": (float, type(None)), "beats_random": bool, "depends_on_weights": bool,
    }],
    "images": int, "split": str,
}  # fmt: skip
SUMMARY: Schema = {
    "data": {"splits": {"*": {"images": int, "*": None}}, "*": None},
    "training": {
        "method": str, "epochs": int, "steps_per_epoch": int, "batch_size": int, "*": None,
    },
    "device": str, "precision": str, "*": None,
}  # fmt: skip


def read_object(path: Path, schema: Schema) -> dict[str, Any]:
    """The content of a JSON file.

    Args:
        path: the file.
        schema: what it holds.

    Returns:
        The content; empty where there is no file.

    Raises:
        ConfigError: it cannot be read, or holds something else.

    Example:
        >>> read_object(Path("no file"), SUMMARY)
        {}
    """
    if not path.is_file():
        return {}
    content = read_json(path, ConfigError)
    check_schema(content, schema, str(path), ConfigError)
    return content


def read_lines(path: Path, schema: Schema) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines, because the last may be half written.

    Args:
        path: the file.
        schema: what each line holds.

    Returns:
        The lines; none where there is no file.

    Raises:
        ConfigError: it cannot be read, or a line holds something else.

    Example:
        >>> read_lines(Path("no file"), METRICS)
        []
    """
    if not path.is_file():
        return []
    whole = read_text(path, ConfigError, MAX_LINES).rpartition("\n")[0]
    lines = []
    for number, text in enumerate(whole.splitlines(), 1):
        source = f"{path}, line {number}"
        lines.append(parse_json(text, source, ConfigError))
        check_schema(lines[-1], schema, source, ConfigError)
    return lines


def read_pictures(path: Path) -> Tensor | None:
    """The images of an evaluation.

    Args:
        path: a .safetensors file.

    Returns:
        uint8 (N, C, *size); None where there is no file.

    Raises:
        VitrailError: the file is damaged.

    Example:
        >>> read_pictures(Path("no file"))
    """
    import safetensors.torch

    if not path.is_file():
        return None
    try:
        check_header(path)
        return safetensors.torch.load_file(path)["images"]
    except (safetensors.SafetensorError, OSError, LookupError) as problem:
        raise ConfigError(f"{path} is damaged: {problem}.") from None
