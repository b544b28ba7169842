"""Back-translation: each training text into another language and back, once, kept on disk by content.

Sennrich et al. 2016 (arXiv 1511.06709) is where the method comes from; as paraphrasing for classification it stands in
Xie et al. 2020 (UDA, arXiv 1904.12848).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.core.errors import DataError
from trimtab.core.files import disk_error, jsonable, sha256_of

CHUNK_ROWS = 256
"""Texts that go there and back before they are written to the cache."""
BATCH_ROWS = 32
_MODEL_FILES = (".json", ".txt", ".model", ".spm", ".safetensors", ".bin")

Progress = Callable[[int, int], object]
"""Called with how many texts are done, and of how many."""


@dataclass(frozen=True)
class Translator:
    """A text-to-text model that translates in one direction, greedily or with beams.

    Args:
        model: with `generate`, on its device, in evaluation mode.
        tokenizer: the model's tokenizer.
        max_length: most tokens that the model reads, and that it writes.
        prompt: what stands before each text (T5).
        forced_token: first token of the output, the code of the language (M2M100, NLLB, mBART-50).
        beams: of the search; 1 is greedy.
    """

    model: Any
    tokenizer: Any
    max_length: int
    prompt: str = ""
    forced_token: int | None = None
    beams: int = 1

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """The translation of each text, whatever others are beside it.

        None for a text that is empty or too long for the model to read whole, and where the model comes to no end
        within `2 × tokens + 8` tokens: it has lost the thread and repeats itself.
        """
        prompted = [self.prompt + text for text in texts]
        lengths = [len(ids) for ids in self.tokenizer(prompted, verbose=False)["input_ids"]] if texts else []
        readable = [row for row, text in enumerate(texts) if text.strip() and lengths[row] <= self.max_length]
        # Texts of like length share a batch, so that little is padding.
        readable.sort(key=lambda row: lengths[row])
        found: list[str | None] = [None] * len(texts)
        for start in range(0, len(readable), BATCH_ROWS):
            rows = readable[start : start + BATCH_ROWS]
            for row, words in zip(rows, self._generate([prompted[row] for row in rows]), strict=True):
                found[row] = words or None
        return found

    def _generate(self, texts: list[str]) -> list[str]:
        import torch

        inputs = self.tokenizer(texts, padding=True, return_tensors="pt")
        inputs = {name: inputs[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        room = [min(self.max_length - 1, 2 * length + 8) for length in inputs["attention_mask"].sum(dim=1).tolist()]
        options: dict[str, Any] = {"num_beams": self.beams, "do_sample": False, "max_new_tokens": max(room)}
        if self.forced_token is not None:
            options["forced_bos_token_id"] = self.forced_token
        with torch.no_grad():
            written = self.model.generate(**inputs, **options)[:, 1:].tolist()  # without the token that starts it
        ends = self.model.generation_config.eos_token_id
        ends = set(ends) if isinstance(ends, list) else {ends}
        ended = [not ends.isdisjoint(ids[:most]) for ids, most in zip(written, room, strict=True)]
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [words.strip() if whole else "" for words, whole in zip(texts, ended, strict=True)]


class TranslationCache:
    """Back-translations on disk: JSON Lines with `models` (fingerprint of what translated), `text` and `back`.

    Args:
        path: the file, made when the first translation is kept; None keeps them in memory only.

    Raises:
        DataError: the file holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._entries: dict[tuple[str, str], str] = {}
        if path is not None and path.exists():
            self._read(path)

    def find(self, models: str, text: str) -> str | None:
        """The back-translation of a text by these models, or None."""
        return self._entries.get((models, text))

    def keep(self, models: str, pairs: Iterable[tuple[str, str]]) -> None:
        """Add (text, back-translation) pairs, in memory and on disk.

        Raises:
            RunError: the file cannot be written.
        """
        lines = []
        for text, back in pairs:
            self._entries[models, text] = back
            lines.append(json.dumps({"models": models, "text": text, "back": back}, ensure_ascii=True))
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise disk_error(self.path, error) from error

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise disk_error(path, error) from error
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
                self._entries[entry["models"], entry["text"]] = str(entry["back"])
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(
                    f"augmentation.back_translation_cache: line {number} of {path} is no kept translation.",
                    remedy="Name a file of an earlier run, or one that does not exist yet.",
                ) from error
        if whole and whole < len(content):
            # A process killed while it wrote left a torn line; what follows must begin on a line of its own.
            with open(path, "rb+") as file:
                file.truncate(whole)
        elif not whole and content:
            raise DataError(
                f"augmentation.back_translation_cache: {path} holds no kept translations.",
                remedy="Name a file of an earlier run, or one that does not exist yet.",
            )


def back_translate(
    texts: Iterable[str],
    load: Callable[[], tuple[Translator, Translator]],
    cache: TranslationCache,
    models: str,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Each text there and back; what the cache holds is not translated again.

    Args:
        texts: texts; equal ones are translated once.
        load: gives the translators there and back; called only when a text is not in the cache.
        cache: where translations are kept.
        models: fingerprint of translators and their settings, the cache's key beside the text.
        progress: called after each chunk.

    Returns:
        A back-translation for each text; the text itself where a model cannot read it whole, or writes nothing.
    """
    distinct = list(dict.fromkeys(texts))
    missing = [text for text in distinct if cache.find(models, text) is None]
    if missing:
        forward, backward = load()
        for start in range(0, len(missing), CHUNK_ROWS):
            chunk = missing[start : start + CHUNK_ROWS]
            away = forward.translate(chunk)
            back = backward.translate([words or "" for words in away])
            pairs = zip(chunk, back, strict=True)
            cache.keep(models, [(text, words or text) for text, words in pairs])
            if progress is not None:
                progress(len(distinct) - len(missing) + start + len(chunk), len(distinct))
    return {text: cache.find(models, text) or text for text in distinct}


def fingerprint_of(directories: Sequence[Path], settings: Any) -> str:
    """SHA-256 of the files of models and of the settings they translate with: the same key, the same translations."""
    import hashlib

    digest = hashlib.sha256(json.dumps(jsonable(settings), sort_keys=True).encode())
    for directory in directories:
        for file in sorted(directory.iterdir()):
            if file.suffix in _MODEL_FILES:
                digest.update(f"{file.name}\0{sha256_of(file)}\0".encode())
    return digest.hexdigest()
