"""``python -m include``: the command line."""

from include.cli import main

main()
