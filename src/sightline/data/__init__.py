"""Data sets: one loader function per file, opened by a spec 'NAME:PATH?option=value&option=value'."""

from __future__ import annotations

from dataclasses import replace

from sightline._util.spec import parse_options, parse_spec
from sightline.core import Dataset
from sightline.data.registry import DatasetInfo, datasets
from sightline.errors import DataError

__all__ = ["DatasetInfo", "datasets", "open_dataset"]


def open_dataset(spec: str) -> Dataset:
    """Open a data set: 'phantom:200', 'chexlocalize:DIR?split=val', 'rsna:DIR', 'folder:DIR', ...

    A loader is a function of the argument (a path, or what the loader says) and of options; options arrive as the
    type of their default. Every loader takes `readers=PLACE`: the readers of a study (`sightline readers`) beside the
    data set's own. Errors: `UnknownNameError` for a loader and `SightlineError` for an option that does not
    exist, `DataError` for files that are not what the format promises, and where no radiograph is left.
    """
    name, argument, given = parse_spec(spec)
    loader = datasets[name]
    study = given.pop("readers", "")
    opened: Dataset = replace(loader(argument, **parse_options(spec, loader.function, given, ("readers",))), spec=spec)
    if not len(opened.radiographs):
        raise DataError(f"{spec!r} holds no radiograph; give another split, a larger number or another folder")
    if not study:
        return opened
    from sightline.data.reader_study.annotations import (
        add_study_readers,  # SQLAlchemy takes 0.3 s to import: only who has readers pays
    )

    return add_study_readers(opened, study)


# Last, because each of these registers its loader in the table above.
from sightline.data.loaders import chexlocalize, chexpert, egd, folder, mimic, nih, openi, reflacx, rsna, siim, vindr  # noqa: E402, F401
from sightline.data.phantom import loader as _phantom  # noqa: E402, F401
