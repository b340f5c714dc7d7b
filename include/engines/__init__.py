"""One package a database, behind the interface of ``include.engines.base``."""
