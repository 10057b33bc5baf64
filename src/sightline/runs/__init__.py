"""Run folders: tables computed in chunks that survive a kill."""
