"""What reports need after a load: indexes, typed views, statistics, an audit of dimensions, quality metrics."""
