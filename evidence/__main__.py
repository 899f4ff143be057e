"""`python -m evidence` rebuilds docs/results from what is kept; `python -m evidence run` runs what is missing."""

import sys

from evidence import pages, run

if sys.argv[1:2] == ["run"]:
    sys.exit(run.main(sys.argv[2:]))
sys.exit(pages.main(sys.argv[1:]))
