"""Alembic's entry: one psycopg connection, one transaction a migration, raw SQL."""

from alembic import context
from psycopg import connect
from sqlalchemy import create_engine, pool

dsn: str = context.config.attributes["dsn"]
engine = create_engine("postgresql+psycopg://", creator=lambda: connect(dsn), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
