"""What is done with the tables: replicate, verify, export, and the record of it."""
