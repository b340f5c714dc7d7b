"""Orders sync: what the CRMs' reports say of orders and payments, complete and never twice, in the control database."""
