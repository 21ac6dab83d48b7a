"""``python -m tui``."""

from tui import main

raise SystemExit(main())
