"""Runs the migrations on the connection that the caller opened and will commit."""

from alembic import context

given = context.config.attributes
context.configure(connection=given["connection"], version_table=given["version_table"])
context.run_migrations()
