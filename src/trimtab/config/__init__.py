"""The recipe: one pydantic model of a whole run, from which flags, YAML, docs and forms are derived."""
