"""Examples in docstrings, `>>> ...`, become blocks of code in the documentation; Markdown makes quotes of them."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ERRORS = re.compile(r"\s+Errors: (?=`)")
_EXAMPLE = re.compile(r"(?:^[ ]*>>> .*\n?(?:^[ ]*\S.*\n?)*)+", re.MULTILINE)


def fenced(text: str) -> str:
    """Put every example, its answer included, between fences, and what is raised into a paragraph of its own.

    >>> fenced("Add.\\n\\n>>> 1 + 1\\n2\\n")
    'Add.\\n\\n```pycon\\n>>> 1 + 1\\n2\\n```\\n'
    """
    text = _ERRORS.sub("\n\n**Errors.** ", text)
    return _EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)


class Doctests(griffe.Extension):
    """Does so to the docstring of everything that is loaded."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
