"""Reader studies: the database, the append-only log of operations, and the annotations that follow from it."""
