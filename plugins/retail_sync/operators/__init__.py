"""One operator a step of a run; each is a thin call of the engine."""
