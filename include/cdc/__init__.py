"""Follow other databases: what is there is copied, then every change is applied as it is committed."""
