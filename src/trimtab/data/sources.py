"""From what the user names to raw tables: files, folders with splits, class folders, saved data sets, Hub ids."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.images import class_folders, has_images, read_class_folders
from trimtab.data.objects import from_hub, from_object, from_saved, is_object
from trimtab.data.readers import SUPPORTED, read_table
from trimtab.data.split_names import SPLITS, is_plain, split_of
from trimtab.data.tables import RawData, RawTable

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WHAT_A_FOLDER_HOLDS = (
    "A data folder has files called train, validation and test (.csv, .tsv, .jsonl, .json, .parquet), one data file, "
    "or one folder of images a class."
)


def resolve(source: Any, options: DataSection, expected: tuple[str, ...] = ()) -> RawData:
    """Find and read the tables of a data source, with the user's validation and test files.

    Args:
        source: a path, a Hub id, a DataFrame, or a `datasets` object.
        options: the recipe's data section.
        expected: column names that are known beforehand.

    Raises:
        DataError: there is nothing there, or it cannot be read.
    """
    names = (*expected, *(options.text or ()), *filter(None, (options.label, options.group)))
    raw = resolve_alone(source, options, names)
    tables, explicit = dict(raw.tables), set()
    for split, path in (("validation", options.validation), ("test", options.test)):
        if path is None:
            continue
        found = resolve_alone(path, options, names)
        if not found.single or found.modality != raw.modality:
            raise DataError(
                f"data.{split} is {path}, which holds "
                f"{'several splits' if not found.single else f'{found.modality} data beside {raw.modality} data'}.",
                remedy=f"Name one file with --{split} FILE.",
            )
        tables[split] = found.tables["train"]
        explicit.add(split)
    return replace(raw, tables=tables, explicit=frozenset(explicit))


def resolve_alone(source: Any, options: DataSection, names: tuple[str, ...]) -> RawData:
    """Find and read the tables of a data source, without the recipe's validation and test files."""
    if is_object(source):
        return from_object(source)
    if not isinstance(source, str | Path):
        return from_object(source)  # raises, naming the type
    path = Path(source).expanduser()
    try:
        present = path.exists()
    except (OSError, ValueError) as error:  # too long for a path, or with a zero byte in it
        raise DataError(f"{str(source)[:100]!r} cannot be a path: {error}.", remedy="Check the path.") from error
    if path.is_dir():
        return _folder(path, options, names)
    if present:
        table = read_table(path, options, names)
        return RawData({"train": table}, "text", short_name(path.stem), single=True, notes=())
    if _looks_like_path(str(source), path):
        raise _missing(path)
    return from_hub(str(source), options.config_name)


def short_name(name: str) -> str:
    """A name that is safe as part of a directory name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def _looks_like_path(source: str, path: Path) -> bool:
    if not HUB_ID.fullmatch(source) or path.suffix.lower() in SUPPORTED:
        return True
    return "/" in source and path.parent.is_dir()


def _missing(path: Path) -> DataError:
    folder = path.parent
    near: list[str] = []
    if folder.is_dir():
        near = difflib.get_close_matches(path.name, sorted(item.name for item in folder.iterdir()), n=3, cutoff=0.5)
    inside = f" in {folder}" if folder.parts else " in the working directory"
    where = inside if folder.is_dir() else f": the folder {folder} does not exist either"
    offer = f" Near names there: {', '.join(near)}." if near else ""
    return DataError(f"There is no file or folder {path.name!r}{where}.{offer}", remedy="Check the path.")


def _folder(folder: Path, options: DataSection, names: tuple[str, ...]) -> RawData:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return from_saved(folder)
    title = short_name(folder.resolve().name)
    by_split = _split_files(folder)
    if by_split:
        tables = {split: _join([read_table(path, options, names) for path in by_split[split]]) for split in by_split}
        return RawData(tables, "text", title, single=False)
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_data_file(path)]
    images = _image_splits(folder)
    # One folder of images beside data files is an attachment, not a class.
    if images and not (files and len(class_folders(folder)) < 2):
        return RawData(images, "image", title, single=not (len(images) > 1 or images["train"].source != folder.name))
    if len(files) == 1:
        note = f"{folder}: the one data file in it is used, {files[0].name}."
        return RawData(
            {"train": read_table(files[0], options, names)}, "text", short_name(files[0].stem), True, notes=(note,)
        )
    if not files and (folder / "data").is_dir():
        return replace(_folder(folder / "data", options, names), name=title)
    raise _unusable(folder, files)


def _is_data_file(path: Path) -> bool:
    # A .txt beside data is as a rule a readme or a licence.
    suffix = path.suffix.lower()
    return suffix in SUPPORTED and suffix != ".txt" and path.name != "dataset_info.json"


def _unusable(folder: Path, files: list[Path]) -> DataError:
    if files:
        return DataError(
            f"{folder} holds {len(files)} data files, and none is called train: "
            f"{', '.join(path.name for path in files[:6])}{', …' if len(files) > 6 else ''}.",
            remedy="Name one of the files, or call them train, validation and test.",
        )
    if has_images(folder):
        return DataError(
            f"{folder} holds images, but not in one folder a class.",
            remedy="Put the images of each class in a folder with the class's name.",
        )
    inside = sorted(path.name for path in folder.iterdir())
    shown = f"it holds {', '.join(inside[:6])}{', …' if len(inside) > 6 else ''}" if inside else "it is empty"
    return DataError(f"{folder} has no data that can be used: {shown}.", remedy=WHAT_A_FOLDER_HOLDS)


def _split_files(folder: Path) -> dict[str, list[Path]]:
    """Files by split, parts of one split together; a file called exactly `train` goes before `tickets_train`."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        split = split_of(path.stem)
        if split is not None and path.is_file() and path.suffix.lower() in SUPPORTED:
            found.setdefault(split, []).append(path)
    chosen = {}
    for split in SPLITS:
        files = found.get(split, [])
        plain = [path for path in files if is_plain(path.stem)]
        chosen[split] = plain or files
        parts = all(re.search(r"\d", path.stem) for path in chosen[split])
        if len(chosen[split]) > 1 and not parts:
            raise DataError(
                f"{folder} has several files for the {split} split: {', '.join(path.name for path in chosen[split])}.",
                remedy="Keep one of them in the folder, or name the training file alone and the others with "
                "--validation FILE and --test FILE.",
            )
    return {split: files for split, files in chosen.items() if files}


def _join(tables: list[RawTable]) -> RawTable:
    if len(tables) == 1:
        return tables[0]
    frame = pd.concat([table.frame for table in tables], ignore_index=True)
    notes = tuple(note for table in tables for note in table.notes)
    return RawTable(frame, f"{tables[0].source} and {len(tables) - 1} more", notes)


def _image_splits(folder: Path) -> dict[str, RawTable]:
    """Class folders of images by split; a folder of classes without splits stands under `train`."""
    classes = class_folders(folder)
    splits = {split_of(path.name): path for path in classes if is_plain(path.name) and class_folders(path)}
    if splits:
        return {split: read_class_folders(splits[split]) for split in SPLITS if split in splits}
    return {"train": read_class_folders(folder)} if classes else {}
