"""
The command line, ``python -m include`` or ``retail-sync``.

Exit codes: 0 everything asked for is done; 1 something failed or differs; 2 the request or
the configuration makes no sense, nothing was begun.
"""

from include.cli.app import main

__all__ = ["main"]
