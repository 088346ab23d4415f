"""Runs on disk: what was trained, in folders that are written whole and read checked."""
