"""`python -m hare_tortoise.cli`."""

import sys

from hare_tortoise.cli import main

sys.exit(main())
