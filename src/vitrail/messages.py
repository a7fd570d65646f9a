"""Translation of what the command line and the reports say, by gettext.

Messages are English. The language is that of the environment variables LANGUAGE, LC_ALL,
LC_MESSAGES or LANG. `locale/LANGUAGE.toml` beside this file holds translations, English = other
language, where Vitrail has them: Chinese. A catalog `locale/LANGUAGE/LC_MESSAGES/vitrail.mo`,
compiled by msgfmt, goes before it. `xgettext --language=Python --keyword=_ --keyword=ngettext:1,2`
lists all messages.
"""

import functools
import gettext
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import tomllib

DOMAIN = "vitrail"
LOCALE = Path(__file__).with_name("locale")
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set


class _Translations(gettext.NullTranslations):
    """Translations into a language whose words have one form for all counts."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def gettext(self, message: str) -> str:
        return self.texts.get(message, message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.texts.get(msgid2) or super().ngettext(msgid1, msgid2, n)


def _languages() -> Iterator[str]:
    """The user's languages, the preferred one first: "zh_CN.UTF-8" gives "zh_CN" and "zh"."""
    value = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "")
    for language in value.split(":"):
        name = language.partition(".")[0].partition("@")[0]
        yield from (name, name.partition("_")[0])


@functools.cache
def _catalog() -> gettext.NullTranslations:
    if gettext.find(DOMAIN, LOCALE) is None:
        for language in _languages():
            file = LOCALE / f"{language}.toml"
            if language in ("en", "C", "POSIX"):
                break
            if language.isalnum() and file.is_file():
                return _Translations(tomllib.loads(file.read_text("utf-8")))
    return gettext.translation(DOMAIN, LOCALE, fallback=True)


def language() -> str:
    """The language of messages, for texts that are not in a catalog.

    Returns:
        "zh" for Chinese; "en" for every other.

    Example:
        >>> language() in ("en", "zh")
        True
    """
    first = next((name for name in _languages() if name in ("zh", "en", "C", "POSIX")), "en")
    return "zh" if first == "zh" else "en"


def use_language(name: str) -> None:
    """Sets the language of this process and of those that it starts.

    Args:
        name: such as "zh" or "en".

    Example:
        >>> use_language("en")
        >>> language()
        'en'
    """
    os.environ["LANGUAGE"] = name
    _catalog.cache_clear()


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
