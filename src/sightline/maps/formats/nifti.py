"""Maps as NIfTI files (.nii, .nii.gz) of one slice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import DataError
from sightline.maps.formats.content import (
    MapContent,
    as_grid,
    as_probability,
    check_shape,
    crop_to_visible,
    wrap_decode_errors,
)


def read(path: Path, finding: str) -> MapContent:
    """Read a map from NIfTI.

    The first axis of the array is the column (x, to the right), the second the row (y, downwards), as tools write that
    convert radiographs to NIfTI. Slope and intercept are applied; the affine (position and direction in space, which a
    radiograph has not) is not. A comment that the export of this package writes into the header states the pixels that
    the model saw, and its probability.

    Parameters
    ----------
    path : Path
        NIfTI file.
    finding : str
        Finding that the name of the file states.

    Returns
    -------
    MapContent
        Map as the file holds it.

    Raises
    ------
    DataError
        If the file is damaged, or has more than one slice.
    """
    import nibabel  # takes 0.3 s
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError
    from nibabel.wrapstruct import WrapStructError

    with wrap_decode_errors(path):
        try:
            image = nibabel.nifti1.Nifti1Image.from_filename(path)
            shape = image.shape
        except (ImageFileError, HeaderDataError, HeaderTypeError, WrapStructError) as error:
            raise DataError(f"map {path} is no NIfTI file ({error}); it is damaged, make it again") from error
        if any(side != 1 for side in shape[2:]):
            raise DataError(f"map {path} has the shape {shape}, more than one slice; extract one slice")
        check_shape(shape[:2], path)
        slices = np.asanyarray(image.dataobj)  # (w, h, 1, ...)
        comment = _read_comment(image.header)
        values = as_grid(slices.reshape(slices.shape[:2]), path).T
        content = MapContent(values, as_probability(comment.get("probability"), path))
        return crop_to_visible(content, comment.get("seen"), path)


def _read_comment(header: Any) -> Mapping[str, Any]:
    """Return the fields that the export of this package writes into a comment of the header; none in other files."""
    for extension in header.extensions:
        if extension.get_code() == 6:  # a comment
            try:
                content = json.loads(extension.get_content())["sightline"]
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            if isinstance(content, dict):
                return content
    return {}
