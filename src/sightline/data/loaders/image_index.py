"""Search for the images of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sightline.errors import DataError
from sightline.imaging.image_files import SUFFIXES


def find_images(folders: Iterable[Path]) -> dict[str, Path]:
    """Find every image in some folders, but not below them.

    Parameters
    ----------
    folders : iterable of Path
        Folders; those that do not exist are skipped.

    Returns
    -------
    dict of str to Path
        File name -> path, in order of path.
    """
    files = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    return {file.name: file for file in sorted(files) if file.suffix.lower() in SUFFIXES}


def find_images_below(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """Find the images of some radiographs in a folder and the folders below it.

    Parameters
    ----------
    root : Path
        Folder.
    names : iterable of str
        Ids of radiographs: file names without the suffix.

    Returns
    -------
    dict of str to Path
        Radiograph id -> path.
    """
    ids = set(names)
    return {file.stem: file for file in sorted(root.rglob("*")) if file.suffix.lower() in SUFFIXES and file.stem in ids}


def first_file(paths: Iterable[Path]) -> Path | None:
    """Return the first of some paths that is a file.

    Parameters
    ----------
    paths : iterable of Path
        Candidates in order.

    Returns
    -------
    Path or None
        None if none is a file.
    """
    return next((path for path in paths if path.is_file()), None)


def handle_missing_images(
    names: list[str], files: Mapping[str, Path], missing: str, folder: Path
) -> tuple[list[str], list[str]]:
    """Apply the option `missing` of loaders to radiographs whose image does not exist.

    Parameters
    ----------
    names : list of str
        Ids of radiographs that the table of a data set lists.
    files : Mapping of str to Path
        Radiograph id -> image that exists.
    missing : str
        'keep' radiographs without an image, or 'drop' them.
    folder : Path
        Folder of the images, for messages.

    Returns
    -------
    tuple of (list of str, list of str)
        Ids to list, and warnings.

    Raises
    ------
    DataError
        If `missing` is another word, or none of the images exists.
    """
    if missing not in ("keep", "drop"):
        raise DataError(f"option missing takes keep or drop, not {missing!r}")
    present = [name for name in names if name in files]
    if not present:
        raise DataError(f"{folder} holds none of the {len(names)} images that the table names, such as {names[0]}")
    if len(present) == len(names):
        return names, []
    example = next(name for name in names if name not in files)
    effect = "left out" if missing == "drop" else "kept, reading them will fail (missing=drop leaves them out)"
    warning = f"{len(names) - len(present)} of {len(names)} images are not in {folder}, such as {example}: {effect}"
    return (present if missing == "drop" else names), [warning]
