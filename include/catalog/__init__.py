"""The catalog: which tables are replicated, and what they look like."""

from include.catalog.loader import Catalog, load
from include.catalog.models import Table
from include.catalog.types import SqlType

__all__ = ["Catalog", "SqlType", "Table", "load"]
