"""``python -m planner`` is ``m35-plan``."""

import sys

try:
    from planner.cli import run

    run()
except KeyboardInterrupt:
    sys.exit(130)
