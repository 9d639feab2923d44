"""Nova's, Ironic's and Placement's databases, for what no API shows. Read over MariaDB's local socket."""
import contextlib
import getpass

import pymysql
import pymysql.cursors

from cloud import settings


@contextlib.contextmanager
def _cursor(database):
    link = pymysql.connect(unix_socket=str(settings.RUN / 'mysql.sock'), user=getpass.getuser(), database=database, autocommit=True,
                           cursorclass=pymysql.cursors.DictCursor)
    with link, link.cursor() as cursor:
        yield cursor


def rows(database, query, *values):
    with _cursor(database) as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def row(database, query, *values):
    return next(iter(rows(database, query, *values)), None)


def value(database, query, *values):
    found = row(database, query, *values)
    return next(iter(found.values())) if found else None


def run(database, *statements):
    with _cursor(database) as cursor:
        for statement in statements:
            cursor.execute(statement)


def insert(database, statement, rows):
    """Runs a statement with named parameters for each of the rows, many at a time."""
    with _cursor(database) as cursor:
        cursor.executemany(statement, rows)
