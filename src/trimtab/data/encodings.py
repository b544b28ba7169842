"""From bytes to text: byte-order marks, strict UTF-8, and guesses that are shown to the user.

A guess is taken only when the text that it gives is plausible; bytes that no encoding explains are refused with the
offset of the first byte that is not UTF-8.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from trimtab.core.errors import DataError

SAMPLE_BYTES = 1 << 18
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte-order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document"),
)
GUESSES = ["cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp874"]
GUESSES += ["big5", "cp949", "euc_kr", "shift_jis", "euc_jp", "gb18030"]
SAVE_AS_UTF8 = "Save the file as UTF-8, or name its encoding with --set data.encoding=NAME."
_WESTERN = re.compile(r"[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e]")
_WESTERN_SIGNS = set("’‘“”„–—…•€£¥©®™°§«»¡¿ºª·±²½¼¾\u00a0\u00ad´")


@dataclass(frozen=True)
class Decoded:
    """Text, the encoding it was read with, and what to tell the user (empty for plain UTF-8)."""

    text: str
    encoding: str
    note: str = ""


def decode(data: bytes, name: str, encoding: str | None = None) -> Decoded:
    """Decode the bytes of a text file.

    Args:
        data: the whole file.
        name: the file's name, for messages.
        encoding: the user's choice; detected when None.

    Raises:
        DataError: the bytes are not text, or not in the encoding that the user named.
    """
    if encoding is not None:
        return _decode_as(data, name, encoding)
    for mark, codec, title in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            note = "" if codec == "utf-8-sig" else f"{name}: read as {title} (it has a byte-order mark)."
            return Decoded(_decode_as(data, name, codec).text, codec, note)
    for signature, title in SIGNATURES:
        if data.startswith(signature):
            raise DataError(f"{name} is not a text file: it looks like {title}.", remedy="Give the data as CSV text.")
    if b"\0" in data:
        return _guessed(data, name, _utf16_without_mark(data), "UTF-16 without a byte-order mark")
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
    sample = _around(data, offset)
    damaged = sample.decode("utf-8", "replace")
    if sum(ord(character) > 127 for character in damaged) > 6 * damaged.count("\ufffd"):
        raise _not_text(data, name, offset, "the text around it is UTF-8, so the file is damaged")
    return _guessed(data, name, _eight_bit(sample), "")


def _decode_as(data: bytes, name: str, encoding: str) -> Decoded:
    codec = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        return Decoded(data.decode(codec), codec)
    except LookupError as error:
        raise DataError(
            f"{name}: no text encoding is called {encoding!r}.",
            remedy="Set data.encoding to a name such as utf-8, utf-16, gb18030, big5, shift_jis or cp1252.",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not {encoding}: byte {error.start} ({_hex(data, error.start)}, line "
            f"{_line(data, error.start)}) cannot be decoded.",
            remedy="Name the right encoding with --set data.encoding=NAME, or leave it out to have it detected.",
        ) from error
    except UnicodeError as error:
        raise DataError(f"{name} is not {encoding}: {error}.", remedy=SAVE_AS_UTF8) from error


def _guessed(data: bytes, name: str, codec: str | None, title: str) -> Decoded:
    """The text under a guessed codec, with its note; without a guess, the refusal."""
    if codec is not None:
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" not in text:
            shown = title or codec.upper()
            return Decoded(text, codec, f"{name}: read as {shown} (guessed; set data.encoding to override).")
    zero = data.find(b"\0")
    try:
        data[: zero if zero >= 0 else len(data)].decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_text(data, name, error.start, "no other encoding gives readable text") from error
    if zero >= 0:
        raise _not_text(data, name, zero, "a zero byte does not occur in text")
    raise _not_text(data, name, 0, "no encoding gives readable text")


def _not_text(data: bytes, name: str, offset: int, reason: str) -> DataError:
    return DataError(
        f"{name} cannot be read as text: byte {offset} ({_hex(data, offset)}, line {_line(data, offset)}) is not "
        f"UTF-8 text, and {reason}.",
        remedy=SAVE_AS_UTF8,
    )


def _hex(data: bytes, offset: int) -> str:
    return f"0x{data[offset]:02X}" if offset < len(data) else "end of file"


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 of either byte order, when the text has line ends or spaces and only assigned characters."""
    if len(data) % 2:
        return None
    best, most = None, 0
    for codec in ("utf-16-le", "utf-16-be"):
        try:
            sample = data[:SAMPLE_BYTES].decode(codec)
        except UnicodeDecodeError:
            continue
        common = sum(sample.count(character) for character in "\n ,\t;")
        if common > most and _readable(sample):
            best, most = codec, common
    return best


def _around(data: bytes, offset: int) -> bytes:
    """Whole lines before and after the first odd byte."""
    start = data.rfind(b"\n", 0, max(0, offset - SAMPLE_BYTES // 2)) + 1
    sample = data[start : max(start, offset) + SAMPLE_BYTES // 2]
    if start + len(sample) < len(data) and b"\n" in data[offset : start + len(sample)]:
        sample = sample[: sample.rindex(b"\n")]
    return sample


def _eight_bit(sample: bytes) -> str | None:
    """The multi-byte or eight-bit encoding in which the sample is a plausible text."""
    if _is_chinese(sample):
        return "gb18030"
    if _is_western(sample):
        return "cp1252"
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample, cp_isolation=GUESSES, threshold=0.2).best()
    if best is None or not _readable(str(best)) or _odd_share(str(best)) > 0.2:
        return None
    return best.encoding


def _is_chinese(sample: bytes) -> bool:
    """Whether strict GB18030 gives mostly the 3,755 common characters of GB 2312 level 1 and Chinese punctuation.

    Level 1 has the lead bytes 0xB0 to 0xD7. Korean in EUC-KR stays below 0xC9, while every Chinese text goes beyond.
    """
    try:
        text = sample.decode("gb18030")
    except UnicodeDecodeError:
        return False
    foreign = [character for character in text if ord(character) > 127]
    leads: Counter[str] = Counter()
    for character in foreign:
        try:
            lead = character.encode("gb2312")[0]
        except UnicodeEncodeError:
            continue
        if 0xB0 <= lead <= 0xD7:
            leads["late" if lead > 0xC8 else "early"] += 1
        elif lead in (0xA1, 0xA3):
            leads["sign"] += 1
    hanzi = leads["early"] + leads["late"]
    return sum(leads.values()) >= 0.7 * len(foreign) and leads["late"] >= 0.1 * hanzi > 0 and _readable(text)


def _is_western(sample: bytes) -> bool:
    """Whether Windows-1252 gives accented letters that stand alone within words, as in Western European texts."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = _WESTERN.findall(text)
    signs = sum(ord(character) > 127 for character in text) - len(letters)
    known_signs = sum(text.count(sign) for sign in _WESTERN_SIGNS)
    neighbours = sum(len(run) for run in re.findall(rf"{_WESTERN.pattern}{{2,}}", text))
    accented = len(letters) / max(1, sum(character.isalpha() for character in text))
    return _readable(text) and signs == known_signs and neighbours <= 0.2 * len(letters) and accented <= 0.3


def _readable(text: str) -> bool:
    """Whether a text has no control, private or unassigned characters, apart from white space."""
    kinds = Counter(unicodedata.category(character) for character in set(text) - set("\t\n\r\f\v\x1a\x85"))
    return bool(text) and not (kinds["Cc"] or kinds["Cn"] or kinds["Co"] or kinds["Cs"])


def _odd_share(text: str) -> float:
    """Share of the non-ASCII characters that are neither letters nor marks nor the usual signs."""
    foreign = [character for character in text if ord(character) > 127]
    odd = sum(
        not (unicodedata.category(character)[0] in "LM" or character in _WESTERN_SIGNS or character >= "\u3000")
        for character in foreign
    )
    return odd / max(1, len(foreign))
