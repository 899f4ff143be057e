"""`python -m evidence` rebuilds docs/results from what is kept; `python -m evidence run` runs what is missing."""

import sys

from evidence import command

sys.exit(command.main(sys.argv[1:]))
