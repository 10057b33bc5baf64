"""Maps as NIfTI files (.nii, .nii.gz) of one slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightline.core import DataError
from sightline.mapfiles.content import Content, as_grid, check_shape, explained


def read(path: Path, finding: str) -> Content:
    """The first axis of the array is the column (x, to the right), the second the row (y, downwards), as tools write
    that turn radiographs into NIfTI. Slope and intercept are applied; the affine (position and direction in space, of
    which a radiograph has none) is not."""
    import nibabel  # takes 0.3 s: only who reads NIfTI pays

    with explained(path):
        try:
            image = nibabel.nifti1.Nifti1Image.from_filename(path)
        except nibabel.filebasedimages.ImageFileError as error:
            raise ValueError(*error.args) from error
        if any(side != 1 for side in image.shape[2:]):
            raise DataError(
                f"map {path} has the shape {image.shape}, more than one slice; extract the slice that is meant"
            )
        check_shape(image.shape[:2], path)
        slices = np.asanyarray(image.dataobj)  # (w, h, 1, ...)
        return Content(as_grid(slices.reshape(slices.shape[:2]), path).T)
