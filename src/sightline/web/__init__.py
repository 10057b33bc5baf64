"""A run or a reader study in the browser: `server` (shared), `viewer` and `reader_study`."""
