"""Texts to token ids, by byte-pair encoding.

Any language works: a trained vocabulary consists of bytes, so no text is unknown.
"""

import gzip
import html
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError, DataError, check_range, how_to_install
from vitrail.values import NonNegativeInt, PositiveInt, Range, check_value

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"
CONTEXT = 77  # tokens of a caption of OpenAI's CLIP
SHORTEST_CONTEXT, LONGEST_CONTEXT = 32, 256  # of a vocabulary that is learned
MOST_TOKENS = 2**20  # of a caption, and of a vocabulary
Vocabulary = Annotated[int, Range(1, MOST_TOKENS)]
MERGES = 48_894  # of OpenAI's vocabulary: its 49,408 less two per byte, and two marks
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
PACKAGES = ("open_clip", "clip")  # that contain it
HUB = "openai/clip-vit-base-patch32"
# Contractions, words, single digits, runs of anything else; spaces are dropped.
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
# Curly quotes and full-width characters, to plain ones.
PLAIN: dict[int, str] = {
    0x3000: " ",
    **{0xFF01 + i: chr(0x21 + i) for i in range(94)},
    **dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}


class Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2015, https://arxiv.org/abs/1508.07909) of captions.

    Texts are cleaned as those that OpenAI's CLIP was trained on: HTML entities are resolved, quotes
    are straightened, full-width characters become plain, letters lower-case, runs of spaces single.
    OpenAI's library also repairs texts that were decoded wrongly, splits ligatures and drops
    control characters; this class does not, and it turns a final Σ into σ. transformers' tokenizer
    cleans less: it leaves entities, quotes and widths as they are.

    Args:
        core: a `tokenizers.Tokenizer`, which is changed.
        context: length of a caption in ids; shorter ones are padded, longer ones cut.
        pad: id that follows the end of a caption.

    Attributes:
        vocabulary: number of ids.
        context: length of a caption in ids.
        end: id after the last word; -1 if there is none.

    Raises:
        ConfigError: `core` is no such tokenizer, or `context` or `pad` is out of its range.

    Example:
        >>> tokenizer = Tokenizer.train(["a cat", "a dog"], 300, context=8)
        >>> tokenizer(["a cat"]).shape
        torch.Size([1, 8])
    """

    @checked
    def __init__(self, core: Any, context: int, pad: NonNegativeInt = 0) -> None:
        check_range("context", context, 3, MOST_TOKENS)
        if isinstance(core, type) or not hasattr(core, "enable_truncation"):
            raise ConfigError(
                f"core is of {type(core).__name__}: give a tokenizers.Tokenizer, which "
                "transformers' fast tokenizers hold as .backend_tokenizer."
            )
        if pad >= core.get_vocab_size():
            raise ConfigError(f"{pad=} is none of the {core.get_vocab_size()} ids.")
        core.no_padding()
        marks = core.encode("").ids  # what surrounds every text
        core.enable_truncation(context)
        core.enable_padding(length=context, pad_id=pad, pad_token=core.id_to_token(pad) or PAD)
        self._core = core
        self.vocabulary: int = core.get_vocab_size()
        self.context = context
        self.end: int = marks[-1] if marks else -1
        self._marks = len(marks)

    @classmethod
    def openai(cls) -> "Tokenizer":
        """OpenAI's vocabulary of 49,408 tokens, from an installed package or the Hub.

        Returns:
            The tokenizer.

        Raises:
            ConfigError: the vocabulary is nowhere.
        """
        merges = _openai_merges()
        letters = _byte_letters()
        words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
        library = _library()
        core = library.Tokenizer(
            library.models.BPE(
                vocab={word: i for i, word in enumerate([*words, START, END])},
                merges=merges,
                unk_token=END,
                end_of_word_suffix="</w>",
            )
        )
        pieces = library.pre_tokenizers.Split(library.Regex(PIECES), "removed", invert=True)
        in_bytes = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.pre_tokenizer = library.pre_tokenizers.Sequence([pieces, in_bytes])
        return cls(_with_marks(core), CONTEXT)

    @classmethod
    @checked
    def train(
        cls, captions: Iterable[str], size: Vocabulary, context: PositiveInt | None = None
    ) -> "Tokenizer":
        """Learns a vocabulary. The same captions give the same one.

        Args:
            captions: texts to learn from.
            size: number of ids, at least the 259 of all bytes and marks.
            context: length of a caption in ids; None for that of the longest caption, but at least
                32 and at most 256.

        Returns:
            The tokenizer.
        """
        captions = check_value("captions", list(captions), list[str])
        library = _library()
        core = _with_marks(library.Tokenizer(library.models.BPE()))
        core.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        marks = [PAD, START, END]
        trainer = library.trainers.BpeTrainer(
            vocab_size=max(size, 256 + len(marks)),
            special_tokens=marks,
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        core.train_from_iterator(map(clean, captions), trainer)
        core = _with_marks(core)
        if context is None:
            longest = max((len(core.encode(clean(text)).ids) for text in captions), default=0)
            context = min(max(longest, SHORTEST_CONTEXT), LONGEST_CONTEXT)
        return cls(core, context)

    @classmethod
    @checked
    def load(cls, path: str | Path, context: int | None = None, pad: int = 0) -> "Tokenizer":
        """Reads a tokenizer.json, Vitrail's or another library's.

        Args:
            path: the file.
            context: length of a caption in ids, where the file does not say; None for OpenAI's 77.
            pad: id that follows the end of a caption, where the file does not say.

        Returns:
            The tokenizer.

        Raises:
            DataError: there is no such file, or it is no tokenizer.json.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise DataError(f"no tokenizer {str(path)!r}: give a tokenizer.json.")
        try:
            core = _library().Tokenizer.from_file(str(path))
        except Exception as problem:  # the library raises no class of its own
            raise DataError(f"{path} is no tokenizer.json: {problem}.") from None
        length = (core.truncation or {}).get("max_length", context or CONTEXT)
        return cls(core, length, (core.padding or {}).get("pad_id", pad))

    def save(self, path: str | Path) -> None:
        """Writes a tokenizer.json.

        Args:
            path: the file.
        """
        self._core.save(str(path))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """B texts → the number of ids of each, marks included, before any is cut."""
        encodings = [self._core.encode(clean(text)) for text in texts]
        return [
            self._marks + sum(part.special_tokens_mask.count(0) for part in [e, *e.overflowing])
            for e in encodings
        ]

    @checked
    def __call__(self, texts: Sequence[str] | str) -> Tensor:
        """B texts → ids int64 (B, context)."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = [self._core.encode(clean(text)).ids for text in texts]
        return torch.tensor(rows, dtype=torch.long).reshape(-1, self.context)


@checked
def open_tokenizer(name: str, texts: Iterable[str]) -> Tokenizer:
    """Opens a tokenizer by name.

    Args:
        name: "openai"; "train:SIZE", which learns a vocabulary of that size; or a tokenizer.json.
        texts: captions to learn from, for "train:SIZE".

    Returns:
        The tokenizer.

    Raises:
        ConfigError: the name is none of these.

    Example:
        >>> open_tokenizer("train:300", ["a cat", "a dog"]).context
        32
    """
    kind, _, size = name.partition(":")
    if name == "openai":
        return Tokenizer.openai()
    if kind == "train" and size.isdigit():
        check_range("train:SIZE", int(size), 1, MOST_TOKENS)
        return Tokenizer.train(texts, int(size))
    if name.endswith(".json"):
        return Tokenizer.load(name)
    raise ConfigError(f"tokenizer={name!r} is neither openai, nor train:SIZE, nor a .json file.")


def clean(text: str) -> str:
    """Resolves HTML entities, also those that were escaped twice, and makes characters plain.

    Args:
        text: any text.

    Returns:
        The text with straight quotes and half-width characters.

    Example:
        >>> clean("cat &amp;amp; dog")
        'cat & dog'
    """
    text = html.unescape(html.unescape(text)).translate(PLAIN)
    return text.encode(errors="replace").decode()  # names of files may hold half a character


def _with_marks(core: Any) -> Any:
    """Adds lower case, single spaces, and a mark before and after every text."""
    library = _library()
    n = library.normalizers
    core.normalizer = n.Sequence(
        [n.NFC(), n.Replace(library.Regex(r"\s+"), " "), n.Lowercase(), n.Strip()]
    )
    core.decoder = library.decoders.ByteLevel()
    marks = [(mark, core.token_to_id(mark)) for mark in (START, END)]
    if all(number is not None for _, number in marks):
        core.add_special_tokens([START, END])
        core.post_processor = library.processors.TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=marks
        )
    return core


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in the order of OpenAI's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def _openai_merges() -> list[tuple[str, str]]:
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)  # finds it without importing it
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (file := Path(folder) / VOCABULARY).is_file():
                return _merges(gzip.decompress(file.read_bytes()).decode("utf-8"))
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return _merges(Path(hf_hub_download(HUB, "merges.txt")).read_text("utf-8"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        raise ConfigError(
            f"OpenAI's vocabulary is in no package here, and {HUB} cannot be reached on the Hub: "
            "pip install --no-deps open_clip_torch, or train one, such as tokenizer=train:1000."
        ) from None


def _merges(text: str) -> list[tuple[str, str]]:
    """Pairs from the lines of a file, whose first line is a title."""
    pairs = [tuple(line.split()) for line in text.split("\n")[1 : MERGES + 1]]
    return [(first, second) for first, second in pairs]


def _library() -> ModuleType:
    # It warns at every fork of a data loader's workers once it has used threads of its own.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers
        import tokenizers.trainers
    except ImportError:
        raise ConfigError(
            f"text needs the package tokenizers: {how_to_install('tokenizers')}"
        ) from None
    return tokenizers
