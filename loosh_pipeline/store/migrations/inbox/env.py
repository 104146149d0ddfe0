"""Runs the migrations on the connection that the caller opened and will commit."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
