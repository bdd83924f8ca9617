"""Alembic's entry: runs revisions on the connection that `shared.catalogue.migrate` opened."""

from alembic import context
from sqlalchemy import text

from shared.catalogue.tables import Base

connection = context.config.attributes["connection"]
# A migration that waits for a lock makes every query queue behind it: give up soon, it can be run again.
connection.execute(text("set lock_timeout = '5s'"))
connection.execute(text("set statement_timeout = '10min'"))
context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
