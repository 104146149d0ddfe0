"""Warm run workers: Celery hands each Dagster run to a process that has everything loaded."""
