"""The live dashboard: a small server over a folder of runs. It reads files, and acts through the `trimtab` command."""
