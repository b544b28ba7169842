"""Penalties, noise and training losses that keep a model from fitting its rows too closely, or from forgetting."""
