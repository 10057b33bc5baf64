"""Studies: one research question, one function, one command, one report."""
