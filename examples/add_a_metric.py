"""Add a metric: is the center of the prediction inside the mark?"""

import numpy as np

from sightline.metrics.registry import metrics


@metrics("center-hit", title="Center hit", takes="mask", higher_is_better=True, range=(0, 1), source="our own")
def center_hit(predicted, truth):
    """Does the center of mass of the predicted mask lie inside the mark?"""
    rows, cols = np.nonzero(predicted)
    return float(rows.size and truth[int(rows.mean()), int(cols.mean())])
