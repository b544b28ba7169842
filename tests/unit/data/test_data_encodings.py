"""Bytes to text: what is read, what is guessed and shown, what is refused with its byte offset."""

from __future__ import annotations

import codecs

import pytest

from trimtab.core.errors import DataError
from trimtab.data.encodings import decode

CHINESE = "text,label\n我的订单还没有到，请帮我查一下物流信息,物流\n这个产品的质量非常好，我很满意,评价\n" * 3
FRENCH = "text,label\nJ'ai reçu la facture à côté du café, merci !,facture\nTrès déçu par le délai,délai\n"
RUSSIAN = "text,label\nЗдравствуйте, мой заказ до сих пор не пришёл,доставка\nСпасибо за быстрый ответ,отзыв\n" * 3
KOREAN = "text,label\n주문한 상품이 아직 도착하지 않았습니다,배송\n정말 감사합니다 만족스러워요,리뷰\n" * 3


def test_utf8_is_read_without_a_note():
    decoded = decode(CHINESE.encode("utf-8"), "a.csv")
    assert (decoded.text, decoded.encoding, decoded.note) == (CHINESE, "utf-8", "")


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (codecs.BOM_UTF8 + CHINESE.encode(), "utf-8-sig"),
        (CHINESE.encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be"), "utf-16"),
        (FRENCH.encode("utf-32"), "utf-32"),
    ],
)
def test_byte_order_marks_decide(data, encoding):
    decoded = decode(data, "a.csv")
    assert decoded.text.removeprefix("\ufeff") in (CHINESE, FRENCH)
    assert not decoded.text.startswith("\ufeff")
    assert decoded.encoding == encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (CHINESE, "utf-16-le"),
        (CHINESE, "utf-16-be"),
        (CHINESE, "gb18030"),
        (FRENCH, "cp1252"),
        (RUSSIAN, "cp1251"),
    ],
)
def test_guesses_are_right_and_shown(text, encoding):
    decoded = decode(text.encode(encoding), "a.csv")
    assert decoded.text == text
    assert decoded.encoding == encoding
    assert "guessed; set data.encoding to override" in decoded.note
    assert decoded.note.startswith("a.csv: read as ")


def test_korean_is_not_taken_for_chinese():
    assert decode(KOREAN.encode("cp949"), "a.csv").encoding in ("cp949", "euc_kr")


def test_garbage_is_refused_with_the_offset():
    data = b"text,label\ngood,a\n" + bytes([0x81, 0x01, 0x8D, 0x02, 0xFF, 0x9D, 0x03, 0xFE]) * 20
    with pytest.raises(DataError, match=r"tickets\.csv.*byte 18 \(0x81, line 3\)") as caught:
        decode(data, "tickets.csv")
    assert "data.encoding" in caught.value.remedy


def test_damaged_utf8_is_not_guessed_away():
    data = bytearray(CHINESE.encode("utf-8"))
    offset = data.index("质".encode())
    data[offset : offset + 3] = b"\xff\xff\xff"
    with pytest.raises(DataError, match=rf"byte {offset} \(0xFF, line 3\).*the text around it is UTF-8"):
        decode(bytes(data), "a.csv")


def test_odd_bytes_far_into_a_large_file_are_found():
    text = "text,label\n" + "a plain line,a\n" * 40_000 + FRENCH
    decoded = decode(text.encode("cp1252"), "a.csv")
    assert (decoded.text, decoded.encoding) == (text, "cp1252")


def test_zero_bytes_are_refused_with_the_offset():
    with pytest.raises(DataError, match=r"byte 12 .*zero byte"):
        decode(b"text,label\na\0,b\n\x01\x02", "a.csv")


@pytest.mark.parametrize(
    ("head", "title"), [(b"PK\x03\x04rest", "Excel"), (b"\x1f\x8b\x08", "gzip"), (b"\x89PNG\r\n", "PNG")]
)
def test_other_formats_are_named(head, title):
    with pytest.raises(DataError, match=f"a.csv is not a text file.*{title}"):
        decode(head, "a.csv")


def test_named_encoding_is_used_without_a_note():
    decoded = decode(FRENCH.encode("latin-1"), "a.csv", "latin-1")
    assert (decoded.text, decoded.note) == (FRENCH, "")


def test_named_encoding_that_fails_gives_the_offset():
    data = FRENCH.encode("cp1252")
    offset = data.index(b"\xe7")
    with pytest.raises(DataError, match=rf"a.csv is not utf-8: byte {offset} \(0xE7, line 2\)"):
        decode(data, "a.csv", "utf-8")


@pytest.mark.parametrize("name", ["utf-88", "rot13", "base64"])
def test_unknown_encoding_names_are_refused(name):
    with pytest.raises(DataError, match=f"no text encoding is called '{name}'"):
        decode(b"text", "a.csv", name)
