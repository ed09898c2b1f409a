"""A PostgreSQL server for the whole run, with a database that has pgvector and one that has not."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # whose server it is


@pytest.fixture(scope="session")
def postgres_server():
    psycopg = pytest.importorskip("psycopg")
    from postgres_server import PostgresServer

    try:
        server = PostgresServer()
    except RuntimeError as error:
        pytest.skip(str(error))
    try:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE DATABASE plain")
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def _connection(postgres_server):
    import psycopg

    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def connection(_connection):
    """To the database with pgvector, committing by itself; tables are gone after the test."""
    yield _connection
    empty(_connection)
    _connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


@pytest.fixture
def plain(postgres_server):
    """To a database without pgvector."""
    import psycopg

    with psycopg.connect(postgres_server.conninfo("plain"), autocommit=True) as connection:
        yield connection
        empty(connection)


def empty(connection):
    """Drop the tables and schemas of a test."""
    schemas = connection.execute("SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^(pg_|information_)'")
    for (name,) in schemas.fetchall():
        if name != "public":
            connection.execute(f"DROP SCHEMA {name} CASCADE")
    tables = connection.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")
    for (name,) in tables.fetchall():
        connection.execute(f"DROP TABLE IF EXISTS public.{name} CASCADE")


@pytest.fixture
def new_table():
    """new_table() -> a name that was not used before."""
    numbers = itertools.count()
    return lambda: f"codes_{next(numbers)}"
