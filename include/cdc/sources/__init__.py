"""Sources, a module a kind."""
