"""Reader studies in the browser: creation, server, export, agreement, and report."""
