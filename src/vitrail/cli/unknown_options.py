"""What to type where an option does not exist, but is one in other tools."""

import difflib
from collections.abc import Sequence

from vitrail.cli.help_pages import HelpfulCommand
from vitrail.errors import ConfigError
from vitrail.messages import _

IMAGES = (
    "data", "data_dir", "data_path", "dataset", "source", "train_dir", "train_data", "root",
    "images", "folder", "path", "input", "input_dir",
)  # fmt: skip
OPTIONS = {  # of this command line
    "output": "--out", "output_dir": "--out", "save_dir": "--out", "project": "--out",
    "log_dir": "--out", "run_name": "--out", "dest": "--out", "name": "--out",
    "gpu": "--device", "gpus": "--device", "cuda": "--device", "no_cuda": "--device",
    "batch": "--batch-size", "b": "--batch-size", "checkpoint": "--model", "run": "--model",
    "imgsz": "--image-size", "img_size": "--image-size", "size": "--image-size",
    "num_workers": "--workers", "j": "--workers", "k": "--top", "topk": "--top",
    "overwrite": "--force", "y": "--force", "yes": "--force", "resume_from_checkpoint": "--resume",
    "kfold": "--folds", "cv": "--folds", "format": "--out", "dataset": "--data",
}  # fmt: skip
VALUES = {"amp": "bf16", "fp16": "fp16", "bf16": "bf16", "half": "fp16"}  # of switches elsewhere


class HintingCommand(HelpfulCommand):
    """A command that says what does here what an option of another tool does.

    Args:
        *args: as of `HelpfulCommand`.
        **keywords: as of `HelpfulCommand`.

    Example:
        >>> HintingCommand("train", callback=print).name
        'train'
    """

    def explain(self, problem: Exception, command: str, typed: list[str]) -> Exception:
        """What to raise for an error of usage.

        Args:
            problem: what Typer raises.
            command: the words that call the command.
            typed: all arguments.

        Returns:
            What to type instead, where that is known; else the error in the user's language.
        """
        cure = ""
        if type(problem).__name__ == "NoSuchOption":  # a class of a private module
            option = getattr(problem, "option_name", "")
            own = [name for parameter in self.params for name in parameter.opts if name[0] == "-"]
            arguments = [str(p.name) for p in self.params if p.param_type_name == "argument"]
            cure = describe_option(str(self.name), option, typed, own, arguments)
        return ConfigError(cure) if cure else super().explain(problem, command, typed)


def describe_option(
    command: str, option: str, typed: list[str], own: list[str], arguments: Sequence[str] = ()
) -> str:
    """What to type instead of an option.

    Args:
        command: name of the command.
        option: the option, such as "--lr".
        typed: all arguments, among them its value.
        own: the options that the command has.
        arguments: the names of its arguments.

    Returns:
        A sentence; "" where nothing is known about the option.

    Example:
        >>> describe_option("train", "--epochs", ["folder:PHOTOS", "--epochs", "5"], ["--out"])
        'no option --epochs: it is a setting, write schedule.epochs=5.'
        >>> describe_option("eval", "--sandwich", [], ["--data", "--json"])
        ''
    """
    name, value = option.lstrip("-").replace("-", "_").lower(), _value_after(option, typed)
    if command == "train" and name in IMAGES:
        text = _("no option {option}: images are the first argument, vitrail train {source}.")
        return text.format(option=option, source=f"folder:{value or 'PHOTOS'}")
    if command == "train" and name in ("num_classes", "nc", "classes"):
        text = _("no option {option}: the classes are those of the images; leave it out.")
        return text.format(option=option)
    other = OPTIONS.get(name, f"--{name}")
    if other == "--out" and "--out" not in own and "destination" in arguments:
        text = _("no option {option}: what is written is the last argument, {usage}.")
        return text.format(
            option=option, usage=" ".join(("vitrail", command, *map(str.upper, arguments)))
        )
    near = difflib.get_close_matches(option, own, n=1, cutoff=0.75)
    if other in own or near:
        text = _("no option {option}: here it is {other}.")
        return text.format(option=option, other=other if other in own else near[0])
    key = _setting_called(name) if command == "train" else ""
    if key:
        text = _("no option {option}: it is a setting, write {setting}.")
        return text.format(option=option, setting=f"{key}={value or VALUES.get(name, '...')}")
    return ""


def _setting_called(name: str) -> str:
    from vitrail.train.settings import list_settings
    from vitrail.train.settings_elsewhere import setting_here

    keys = [setting.name for setting in list_settings()]
    lasts = {key.rpartition(".")[2]: key for key in keys}
    near = difflib.get_close_matches(name, lasts, n=1, cutoff=0.8)
    return setting_here(name, keys) or "".join(lasts[last] for last in near)


def _value_after(option: str, typed: list[str]) -> str:
    """The value of an option among arguments; "" where it has none."""
    for index, text in enumerate(typed):
        if text.startswith(f"{option}="):
            return text.partition("=")[2]
        if text == option and index + 1 < len(typed) and not typed[index + 1].startswith("-"):
            return "" if "=" in typed[index + 1] else typed[index + 1]
    return ""
