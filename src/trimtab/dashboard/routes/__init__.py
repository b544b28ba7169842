"""The addresses of the dashboard, by what they do: read, write, stream, and show pages."""
