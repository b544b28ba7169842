"""The wiring of recipe to objects: prepare, check, train, finish, resume, and use what was trained."""
