"""Files to tables: every format, and the message for every fault."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.readers import read_table

OPTIONS = DataSection()


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read(folder, name, content, **options):
    return read_table(write(folder, name, content), DataSection(**options))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"one, two",a\nthree,b\n'),
        ("a.csv", 'text;label\r\n"one, two";a\r\nthree;b\r\n'),
        ("a.csv", "text|label\none, two|a\n\nthree|b"),
        ("a.csv", "text\tlabel\none, two\ta\nthree\tb\n"),
        ("a.tsv", "text\tlabel\none, two\ta\nthree\tb\n"),
        ("a.txt", "text\tlabel\none, two\ta\nthree\tb\n"),
        ("a.jsonl", '{"text": "one, two", "label": "a"}\n\n{"text": "three", "label": "b"}\n'),
        ("a.json", '[{"text": "one, two", "label": "a"},\n {"text": "three", "label": "b"}]'),
        ("a.json", '{"version": 1, "data": [{"text": "one, two", "label": "a"}, {"text": "three", "label": "b"}]}'),
        ("a.json", '{"text": "one, two", "label": "a"}\n{"text": "three", "label": "b"}\n'),
    ],
)
def test_text_formats_give_the_same_table(tmp_path, name, content):
    frame = read(tmp_path, name, content).frame
    assert frame.to_dict("list") == {"text": ["one, two", "three"], "label": ["a", "b"]}


def test_parquet_keeps_whole_numbers_and_class_names(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["x", "y"], "n": pd.array([1, None], dtype="Int64")}).to_parquet(path)
    assert read_table(path, OPTIONS).frame["n"].tolist()[0] == 1

    import pyarrow
    import pyarrow.parquet

    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    table = pyarrow.table({"text": ["x", "y", "z"], "label": [1, 0, -1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path)
    assert read_table(path, OPTIONS).frame["label"].tolist() == ["pos", "neg", None]


def test_newlines_inside_quotes_belong_to_the_text(tmp_path):
    frame = read(tmp_path, "a.csv", 'text,label\n"one\ntwo",a\nthree,b\n').frame
    assert frame["text"].tolist() == ["one\ntwo", "three"]


def test_fields_over_the_csv_modules_limit_are_read(tmp_path):
    long = "word " * 40_000
    assert read(tmp_path, "a.csv", f"text,label\n{long},a\n").frame["text"].tolist() == [long]


def test_ragged_row_names_line_and_counts(tmp_path):
    content = 'text,label\n"two\nlines",a\nhello, world,b\nfine,a\nlonely\n'
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.csv", content)
    message = str(caught.value)
    assert "a.csv: line 4 has 3 columns, the header names 2 (text, label)" in message
    assert "2 lines differ in all" in message
    assert "--set data.delimiter" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('text,label\nfine,a\n"never closed,b\nmore,c\n', "line 3: a quoted field is opened and never closed"),
        ('text,label\n"good"bad,b\n', "line 2: text stands behind a closing quote"),
    ],
)
def test_broken_quotes_name_the_line(tmp_path, content, fault):
    with pytest.raises(DataError, match=fault):
        read(tmp_path, "a.csv", content)


def test_unpaired_quotes_in_tsv_are_plain_characters(tmp_path):
    content = 'sentence\tlabel\n"swallows\ta\nrows" between\tb\nlast\ta\n'
    table = read(tmp_path, "a.tsv", content)
    assert table.frame["sentence"].tolist() == ['"swallows', 'rows" between', "last"]
    assert table.notes == ("a.tsv: quotes are taken as plain characters, since they do not pair up.",)


def test_a_tsv_suffix_means_tabs(tmp_path):
    assert read(tmp_path, "a.tsv", "text\tlabel\na,b,c\t1\n").frame["text"].tolist() == ["a,b,c"]


def test_named_delimiter(tmp_path):
    assert list(read(tmp_path, "a.csv", "text~label\na,b~1\n", delimiter="~").frame) == ["text", "label"]
    with pytest.raises(DataError, match=r"data\.delimiter is '::'"):
        read(tmp_path, "a.csv", "text,label\na,1\n", delimiter="::")


def test_missing_header_is_noticed_and_said(tmp_path):
    rows = "".join(f"中国队今天赢得了第{i}场比赛\t{i % 3}\n" for i in range(12))
    table = read(tmp_path, "a.txt", rows)
    assert list(table.frame) == ["column_1", "column_2"]
    assert len(table.frame) == 12
    assert "the first line looks like data" in table.notes[0]


def test_a_known_or_named_column_makes_a_header(tmp_path):
    assert list(read(tmp_path, "a.csv", "2020,label\nx,a\n").frame) == ["2020", "label"]
    assert list(read(tmp_path, "a.csv", "2020,2021\nx,a\n", text="2020").frame) == ["column_1", "column_2"]
    table = read_table(write(tmp_path, "b.csv", "2020,2021\nx,a\n"), OPTIONS, ("2020",))
    assert list(table.frame) == ["2020", "2021"]


def test_one_text_a_line(tmp_path):
    frame = read(tmp_path, "a.txt", "first, with comma\n\nsecond one\n").frame
    assert frame["column_1"].tolist() == ["first, with comma", "second one"]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b" \n\n", "a.csv is empty"),
        ("a.csv", b"text,label\n", "has a header line and no rows"),
        ("a.csv", b"text,text\na,b\n", "names a column twice: 'text'"),
        ("a.csv", b"PK\x03\x04", "Excel"),
        ("a.xlsx", b"PK\x03\x04", r"a.xlsx is of a format that is not read here \(.xlsx\)"),
        ("a.parquet", b"PAR1 no", "a.parquet cannot be read as Parquet"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a.jsonl: line 2 is not JSON: Expecting value at .*column"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', "a.jsonl: line 2 holds an array; an object was expected"),
        ("a.jsonl", b"\n\n", "a.jsonl has no rows"),
        ("a.json", b'[{"text": "a"},\n {"text" 1}]', "a.json is not JSON: .* at line 2, column 10"),
        ("a.json", b'[{"text": "a"}, 3]', "item 2 of the array is a number"),
        ("a.json", b'"text"', "holds a string; an array of objects"),
        ("a.json", b"[" * 100_000, "a.json is not JSON: it is nested too deeply"),
    ],
)
def test_bad_files_get_one_clear_message(tmp_path, name, content, fault):
    with pytest.raises(DataError, match=fault) as caught:
        read(tmp_path, name, content)
    assert caught.value.remedy


def test_half_characters_in_json_become_replacement_characters(tmp_path):
    frame = read(tmp_path, "a.jsonl", '{"text": "a \\ud83d b \\ud83d\\ude00", "label": 1}\n').frame
    assert frame["text"].tolist() == ["a \ufffd b 😀"]
