"""The metadata of all tables; `migrations/` creates and upgrades them."""

from sqlalchemy import BigInteger, Integer, MetaData

# SQLite assigns row numbers only to a plain INTEGER key.
Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "%(table_name)s_%(column_0_name)s",
    }
)
