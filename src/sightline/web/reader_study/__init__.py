"""Reader studies in the browser: radiologists draw, point and rate, and become the human benchmark of a data set."""
