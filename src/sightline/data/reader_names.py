"""Names of readers that several data sets share."""

REFERENCE_READER = "truth"
"""Reference standard."""
RADIOLOGIST = "radiologist"
"""The one radiologist of a data set; in CheXlocalize the human benchmark, whose points are 'radiologist points'."""
