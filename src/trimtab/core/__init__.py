"""Foundations that every room stands on: errors, registry, events, seeds, devices, files and the run directory."""
