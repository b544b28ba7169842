"""The meter of retention: what a fine-tuned model still knows of what it was pretrained for."""
