"""Translation of what the command line and the reports say, by gettext.

Messages are English; a catalog `locale/LANGUAGE/LC_MESSAGES/vitrail.mo` beside this file, compiled
by msgfmt, translates them into the language of the environment variables LANGUAGE, LC_ALL,
LC_MESSAGES or LANG. `xgettext --language=Python --keyword=_ --keyword=ngettext:1,2` lists them.
"""

import functools
import gettext
from pathlib import Path

DOMAIN = "vitrail"
LOCALE = Path(__file__).with_name("locale")


@functools.cache
def _catalog() -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE, fallback=True)


def _(message: str) -> str:
    """The message in the user's language; the message itself where no catalog has it."""
    return _catalog().gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """The form of a message that goes with a count, in the user's language.

    Args:
        singular: the English message for one, with its placeholders unfilled.
        plural: the English message for any other count.
        count: the number that the message is about.

    Returns:
        The translated message, with its placeholders unfilled.

    Example:
        >>> ngettext("{n} image", "{n} images", 3).format(n=3)
        '3 images'
    """
    return _catalog().ngettext(singular, plural, count)
