"""Records of other programs, one reader a file, each giving a `Trace`."""
