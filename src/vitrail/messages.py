"""Translation of what the command line and the reports say, by gettext.

Messages are English. The language is that of the environment variables LANGUAGE, LC_ALL,
LC_MESSAGES or LANG. `locale/LANGUAGE.toml` beside this file holds translations, English = other
language, where Vitrail has them: Chinese. A catalog `locale/LANGUAGE/LC_MESSAGES/vitrail.mo`,
compiled by msgfmt, goes before it. Sentences of errors, which have their values in them when they
come here, are in the folder `locale/LANGUAGE_errors`.
`xgettext --language=Python --keyword=_ --keyword=ngettext:1,2` lists all other messages.
"""

import functools
import gettext
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import tomllib

DOMAIN = "vitrail"
LOCALE = Path(__file__).with_name("locale")
PLACEHOLDER = re.compile(r"\{\d+\}")
VALUE = "('[^']*'|.*?)"  # as short as can be, but a text in quotes as a whole
DEPTH = 4  # sentences in sentences
JOINED = ["", " or ", ""]  # values within a sentence, and no sentence
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


def labelled(name: str, text: str) -> str:
    """A text after the name of what it is about.

    Args:
        name: in the user's language.
        text: in the user's language.

    Returns:
        Both, with the colon of that language.

    Example:
        >>> labelled("line 3", "q has the opposite sign.")
        'line 3: q has the opposite sign.'
    """
    return _("{name}: {reason}").format(name=name, reason=text)


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


@functools.cache
def _sentences(name: str) -> list[tuple[list[str], str]]:
    """Of each sentence of errors in a language the texts between its values, and its translation.

    Those with the most text of their own come first.
    """
    files = sorted((LOCALE / f"{name}_errors").glob("*.toml"))
    tables = [table for file in files for table in tomllib.loads(file.read_text("utf-8")).values()]
    pairs = [pair for table in tables for pair in table.items()]
    split = [(PLACEHOLDER.split(english), translation) for english, translation in pairs]
    return sorted(split, key=lambda entry: -sum(map(len, entry[0])))


def in_own_language(sentence: str, depth: int = DEPTH, *, within: bool = False) -> str:
    """A sentence of an error in the user's language.

    Args:
        sentence: the English sentence, with its values.
        depth: how deep sentences are looked for in the values of others.
        within: whether it is a value of a sentence that was translated.

    Returns:
        The translation with the same values; the sentence itself where there is none.

    Example:
        >>> in_own_language("k=0 is not at least 1.")
        'k=0 is not at least 1.'
    """
    if not depth:
        return sentence
    for texts, translation in _sentences(language()):
        if not within and texts == JOINED:  # half of a sentence that has no translation
            continue
        if not _may_be(sentence, texts):
            continue
        match = re.fullmatch(VALUE.join(map(re.escape, texts)), sentence, re.DOTALL)
        if match is not None and any(texts):
            pieces = re.split(r"\{(\d+)\}", translation)  # texts, and numbers between them
            values = [match[int(n) + 1] for n in pieces[1::2]]
            has_words = any(c.isalpha() for text in texts for c in text)
            inside = within or has_words
            pieces[1::2] = [in_own_language(v, depth - 1, within=inside) for v in values]
            if has_words or pieces[1::2] != values:  # other punctuation alone is no translation
                return "".join(pieces)
            return sentence
    return sentence


def _may_be(sentence: str, texts: list[str]) -> bool:
    """Whether a sentence has these texts, in this order: to see so is faster than to match."""
    if not (sentence.startswith(texts[0]) and sentence.endswith(texts[-1])):
        return False
    position = 0
    for text in texts:
        position = sentence.find(text, position)
        if position < 0:
            return False
        position += len(text)
    return True
