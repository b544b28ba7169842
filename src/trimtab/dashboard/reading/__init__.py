"""The reading side of the dashboard: run directories, read as they grow. No HTTP, no torch, nothing is written.

`store.Store` is the door: `scan()` for the list, `open(id)` for one run.
"""
