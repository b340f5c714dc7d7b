"""Where reports come from: one module a way."""
