"""Captions in: text to token ids, and a caption for every image of a source.

Any language works: a trained vocabulary is made of bytes, so that no text holds what it does not
know, and templates are the user's own.
"""

import gzip
import html
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vitrail.data.dataset import ImageDataset
from vitrail.errors import ConfigError, DataError, check_range

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"
CONTEXT = 77  # tokens of a caption, of OpenAI's CLIP
MERGES = 48_894  # of OpenAI's vocabulary: its 49,408 less two for each byte, and two marks
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
PACKAGES = ("open_clip", "clip")  # that hold it
HUB = "openai/clip-vit-base-patch32"
# Contractions, words, single digits, runs of what is neither; spaces fall away.
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
# Curled quotes and full-width characters, to plain ones.
PLAIN: dict[int, str] = {
    0x3000: " ",
    **{0xFF01 + i: chr(0x21 + i) for i in range(94)},
    **dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}
APART = 0x2545F4914F6CDD1D  # sets draws of templates apart from those of views, of the same seed


class Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2015, https://arxiv.org/abs/1508.07909) of captions.

    Text is cleaned as OpenAI's CLIP was trained on: entities of HTML resolved, quotes uncurled,
    full-width characters made plain, letters small, spaces one. Its library also repairs text that
    was decoded wrongly, takes ligatures apart and drops control characters; this does not, and a Σ
    at the end of a word becomes σ. transformers' tokenizer cleans less: it keeps entities, quotes
    and widths as they are.

    vocabulary: how many ids there are. context: ids of a caption, cut or padded to it. end: the id
    behind the last word; -1 if there is none.
    """

    def __init__(self, core: Any, context: int, pad: int = 0) -> None:
        """core: a `tokenizers.Tokenizer`, which is changed. pad: the id behind the end."""
        check_range("context", context, 3)
        core.no_padding()
        marks = core.encode("").ids  # what surrounds a text
        core.enable_truncation(context)
        core.enable_padding(length=context, pad_id=pad, pad_token=core.id_to_token(pad) or PAD)
        self._core = core
        self.vocabulary: int = core.get_vocab_size()
        self.context = context
        self.end: int = marks[-1] if marks else -1

    @classmethod
    def openai(cls) -> "Tokenizer":
        """OpenAI's vocabulary of 49,408 tokens, from an installed package or the Hub.

        Raises `ConfigError` with the cure where it is nowhere.
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
        return cls(_marked(core), CONTEXT)

    @classmethod
    def train(cls, captions: Iterable[str], size: int, context: int = 32) -> "Tokenizer":
        """Learns a vocabulary of `size` tokens, but no fewer than the 259 of all bytes and marks.

        The same captions give the same vocabulary.
        """
        library = _library()
        core = _marked(library.Tokenizer(library.models.BPE()))
        core.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        marks = [PAD, START, END]
        trainer = library.trainers.BpeTrainer(
            vocab_size=max(size, 256 + len(marks)),
            special_tokens=marks,
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        core.train_from_iterator(map(clean, captions), trainer)
        return cls(_marked(core), context)

    @classmethod
    def load(cls, path: str | Path, context: int | None = None, pad: int = 0) -> "Tokenizer":
        """Reads a tokenizer.json, Vitrail's or another's. Raises `DataError` for any other file.

        context, pad: where the file does not say.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise DataError(f"no tokenizer {str(path)!r}: give a tokenizer.json.")
        try:
            core = _library().Tokenizer.from_file(str(path))
        except Exception as problem:  # the library's errors are bare
            raise DataError(f"{path} is no tokenizer.json: {problem}.") from None
        told = (core.truncation or {}).get("max_length", context or CONTEXT)
        return cls(core, told, (core.padding or {}).get("pad_id", pad))

    def save(self, path: str | Path) -> None:
        """Writes a tokenizer.json."""
        self._core.save(str(path))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """B texts → ids int64 (B, context)."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = [self._core.encode(clean(text)).ids for text in texts]
        return torch.tensor(rows, dtype=torch.long).reshape(-1, self.context)


def open_tokenizer(name: str, texts: Iterable[str]) -> Tokenizer:
    """What a recipe names: "openai", "train:SIZE", which learns from the texts, or a file."""
    kind, _, size = name.partition(":")
    if name == "openai":
        return Tokenizer.openai()
    if kind == "train" and size.isdigit():
        return Tokenizer.train(texts, int(size))
    if name.endswith(".json"):
        return Tokenizer.load(name)
    raise ConfigError(f"tokenizer={name!r} is neither openai, nor train:SIZE, nor a .json file.")


class Captions:
    """A caption for every image: its own, or a prompt made of its label's name.

    templates: prompts with {} for the label, such as "a photo of a {}."; one is drawn for each
    sample, as a function of the seed. Images with captions of their own need none.

    Raises `DataError` for a source that has neither captions nor labels.
    """

    def __init__(
        self, source: ImageDataset, tokenizer: Any, templates: Sequence[str] = ("a photo of a {}.",)
    ) -> None:
        self.source, self.tokenizer, self.templates = source, tokenizer, templates
        self.table: Tensor | None = None
        if not source.captions:
            rows = [tokenizer([prompt(t, name) for name in _labels(source)]) for t in templates]
            self.table = torch.stack(rows)  # (templates, labels, L)

    def __call__(self, labels: Tensor, indices: Tensor, seed: int) -> Tensor:
        """labels (B,), and which images of the source they are (B,) → ids (B, L)."""
        if self.table is None:
            return self.tokenizer([self.source.captions[i] for i in indices.tolist()])
        draw = torch.Generator().manual_seed(seed ^ APART)
        which = torch.randint(len(self.table), labels.shape, generator=draw)
        return self.table[which, labels.cpu()]


def texts_of(source: ImageDataset, templates: Sequence[str]) -> list[str]:
    """All that `Captions` may say of a source: what a vocabulary is learned from."""
    if source.captions:
        return list(source.captions)
    return [prompt(template, name) for name in _labels(source) for template in templates]


def prompt(template: str, label: str) -> str:
    """A caption from a template with {} and the name of a label, where _ stands for a space."""
    if "{}" not in template:
        raise ConfigError(f"template {template!r} has no place for a label: write {{}} there.")
    return template.replace("{}", label.replace("_", " "))


def clean(text: str) -> str:
    """Resolves entities, twice over for those that were escaped twice; quotes and widths plain."""
    return html.unescape(html.unescape(text)).translate(PLAIN)


def _labels(source: ImageDataset) -> list[str]:
    if not source.labels:
        raise DataError(
            "these images have neither captions nor labels: name them as captions:PATH, a folder "
            "with metadata.jsonl, or as folder:PATH, one of classes."
        )
    return source.labels


def _marked(core: Any) -> Any:
    """With small letters, single spaces, and a mark before and behind every text."""
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
    """A letter that can be shown for each byte, in the order of OpenAI's vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in shown] + [chr(256 + i) for i in range(256 - len(shown))]


def _openai_merges() -> list[tuple[str, str]]:
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)  # finds it without importing it
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (file := Path(place) / VOCABULARY).is_file():
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
    """Pairs from the lines of a file, the first of which is a title."""
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
            "text needs the package tokenizers: pip install 'vitrail[clip]'"
        ) from None
    return tokenizers
