"""Alembic runs this; what it does is the same for every database of the project."""

from include.migration_env import run

run()
