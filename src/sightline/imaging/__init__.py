"""Pixels and geometry: image files, DICOM, preprocessing, grids on images, masks and contours."""
