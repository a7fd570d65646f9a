"""What surrounds the constructor, `embed` and `forward` of every model."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from vitrail.arguments import bind
from vitrail.errors import ConfigError, DataError, suggest
from vitrail.models.features import Features
from vitrail.models.limits import check_sizes, within_memory

if TYPE_CHECKING:
    from vitrail.models.base import Backbone

Forward = TypeVar("Forward", bound=Callable[..., Any])


def recording_config(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor whose keywords are checked, and recorded in `config`.

    Args:
        init: the constructor of a model.

    Returns:
        The constructor.

    Example:
        >>> vitrail.ViT(8, 4, 5, 8, 1, 2, 8).config["patch_size"]
        4
    """

    @functools.wraps(init)
    def constructor(self: "Backbone", *args: Any, **keywords: Any) -> None:
        bound = bind(type(self), init, args, keywords)
        if type(self).__init__ is not constructor:
            init(self, *bound.args[1:], **bound.kwargs)
            return  # called by the constructor of a subclass, which records
        check_sizes(bound.arguments)
        with within_memory(f"this {type(self).__name__}"):
            init(self, *bound.args[1:], **bound.kwargs)
        self.config = {}
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                self.config |= bound.arguments[name]
            else:
                self.config[name] = bound.arguments[name]
        del self.config["self"]
        self.init_weights()

    return constructor


def checking_input(
    embed: Callable[["Backbone", Tensor], Features],
) -> Callable[["Backbone", Tensor], Features]:
    """An `embed`, through which every input comes, that checks its type and dtype first.

    Args:
        embed: the method of a model.

    Returns:
        The method.

    Example:
        >>> vitrail.ViT(8, 4, 5, 8, 1, 2, 8).embed("cat.jpg")
        Traceback (most recent call last):
        vitrail.errors.DataError: an input of type str is no tensor: ...
    """

    @functools.wraps(embed)
    def checked(self: "Backbone", images: Tensor) -> Features:
        self.check_input(images)
        return embed(self, images)

    return checked


def hinting(forward: Forward) -> Forward:
    """A `forward` that says what does here what an unknown keyword does elsewhere.

    Args:
        forward: the method of a model or of a training method.

    Returns:
        The method, with the same signature.

    Raises:
        ConfigError: the method that it returns is called with an unknown keyword.
        DataError: it is called with a single image, from which batch norms cannot learn.

    Example:
        >>> vitrail.ViT(8, 4, 5, 8, 1, 2, 8)(torch.zeros(1, 3, 8, 8), output_attentions=True)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: ViT is called with images, not with output_attentions. ...
    """
    names = tuple(inspect.signature(forward).parameters)[1:]

    @functools.wraps(forward)
    def call(self: Any, *args: Any, **keywords: Any) -> Any:
        for name in keywords:
            if name not in names:
                raise ConfigError(
                    f"{type(self).__name__} is called with {', '.join(names)}, not with {name}."
                    f"{suggest(name, names)}"
                )
        try:
            return forward(self, *args, **keywords)
        except TypeError as problem:
            if problem.__traceback__ is None or problem.__traceback__.tb_next is not None:
                raise
            text = str(problem).partition("() ")[2]  # the method was not entered
            raise ConfigError(
                f"{type(self).__name__} is called with {', '.join(names)}: forward {text}."
            ) from None
        except ValueError as problem:
            if "more than 1 value per channel" in str(problem):  # of PyTorch's batch norm
                raise DataError(
                    "a batch of 1 is too small for batch normalization in training: give 2 images "
                    "or more, or call model.eval()."
                ) from None
            raise

    return call  # type: ignore[return-value]
