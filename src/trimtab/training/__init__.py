"""The engine: one loop, a generator that yields a record an optimizer step; checkpoints, exact resume, inference."""
