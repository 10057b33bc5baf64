"""Data sets: one loader per layout of files, opened by a spec 'NAME:PATH?option=value&option=value'."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from sightline._util.spec import parse_options, parse_spec
from sightline.core import Dataset
from sightline.data.registry import DatasetInfo, datasets
from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.imaging.consensus import ConsensusRule

__all__ = ["DatasetInfo", "datasets", "open_dataset"]


def open_dataset(spec: str) -> Dataset:
    """Open a data set by its spec, such as 'phantom:200', 'chexlocalize:DIR?split=val' or 'folder:DIR'.

    Images and annotations are not decoded here but when they are read.

    Parameters
    ----------
    spec : str
        'NAME:ARGUMENT?option=value&option=value'. NAME is a loader (`sightline list datasets`), ARGUMENT mostly a
        folder; each loader documents its options, and converts them to the type of their default. Every loader also
        takes `readers=FILE`, the database of a reader study, whose readers are added to those of the data set, and
        `reference=RULE` (union, majority or staple), which combines its readers into the reference; each reader is then
        scored against the others.

    Returns
    -------
    Dataset
        The data set; its `spec` is the spec that was given.

    Raises
    ------
    UnknownNameError
        If no loader has this name.
    SightlineError
        If the spec or an option is invalid.
    DataError
        If the files are not of the layout that the loader reads, or no radiograph is left.

    Examples
    --------
    >>> data = open_dataset("phantom:4?size=64")
    >>> len(data.radiographs), data.readers[0], data.radiographs[0].read().shape[1]
    (4, 'truth', 64)
    """
    name, argument, options = parse_spec(spec)
    loader = datasets[name]
    study, reference = options.pop("readers", ""), options.pop("reference", "")
    if study.isdecimal():  # a number of simulated readers, an option of the loader, and not a reader study
        options["readers"], study = study, ""
    typed_options = parse_options(spec, loader.function, options, ("readers", "reference"))
    data: Dataset = replace(loader(argument, **typed_options), spec=spec)
    if not len(data.radiographs):
        raise DataError(f"{spec!r} holds no radiograph; give another split, a larger number or another folder")
    if study:
        # SQLAlchemy takes 0.3 s to import, which only data sets with a reader study pay.
        from sightline.data.reader_study.annotations import add_study_readers

        data = add_study_readers(data, study)
    if reference:
        from sightline.data.combined_reference import combine_readers

        data = combine_readers(data, cast("ConsensusRule", reference))
    return data
