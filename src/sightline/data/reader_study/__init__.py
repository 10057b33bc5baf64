"""What readers of a study said: a database, an append-only log of operations, and the marks it comes to."""
