"""Reading data, finding columns and task, splits, the data report, and batches."""
