"""The warehouses that a database can be followed into, behind one interface."""
