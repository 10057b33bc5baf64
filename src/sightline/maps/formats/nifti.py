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
    """The first axis of the array is the column (x, to the right), the second the row (y, downwards), as tools write
    that turn radiographs into NIfTI. Slope and intercept are applied; the affine (position and direction in space, of
    which a radiograph has none) is not. A comment that our own export leaves in the header tells which pixels the model
    saw, and its probability.

    Errors: `DataError` for a damaged file, and for more than one slice.
    """
    import nibabel  # takes 0.3 s: only who reads NIfTI pays
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
            raise DataError(f"map {path} has the shape {shape}, more than one slice; extract the slice that is meant")
        check_shape(shape[:2], path)
        slices = np.asanyarray(image.dataobj)  # (w, h, 1, ...)
        said = _read_comment(image.header)
        content = MapContent(
            as_grid(slices.reshape(slices.shape[:2]), path).T, as_probability(said.get("probability"), path)
        )
        return crop_to_visible(content, said.get("seen"), path)


def _read_comment(header: Any) -> Mapping[str, Any]:
    """What our export says in a comment of the header; nothing in other files."""
    for extension in header.extensions:
        if extension.get_code() == 6:  # a comment
            try:
                said = json.loads(extension.get_content())["sightline"]
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            if isinstance(said, dict):
                return said
    return {}
