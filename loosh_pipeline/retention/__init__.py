"""How long Dagster's history is kept, and how what is gone from it comes back. Inbox and tables are never touched."""
