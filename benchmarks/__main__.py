"""`python -m benchmarks` runs them all."""

import sys

from benchmarks.run import main

sys.exit(main())
