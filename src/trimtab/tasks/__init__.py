"""Tasks, one file each: how examples are encoded, which head they need, the loss, predictions and metrics."""
