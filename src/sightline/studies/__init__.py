"""Studies: one research question, one function, one command, one report."""

STUDIES = {
    "localization": "Do maps find what radiologists marked, and how far below a second radiologist?",
    "trust": "Do maps depend on what a network learned, and do they repeat when it is retrained?",
    "gaze": "Do maps agree with where a radiologist looked, and does training on gaze help?",
    "pretraining": "Does pre-training improve accuracy and maps, at 1, 10 and 100 % of the labels?",
    "selfexplain": "Does a network that explains itself give better maps than post-hoc methods?",
}
"""Name -> what it asks. The function of a study has its name, in the module of its name."""
