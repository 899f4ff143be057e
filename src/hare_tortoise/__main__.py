"""`python -m hare_tortoise`: the command line."""

import sys

from hare_tortoise.cli import main

sys.exit(main())
