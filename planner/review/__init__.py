"""Judge what people already have: commands, files of containers and clusters, units, scripts. It never runs anything.

from planner.review import review

for found in review(open("compose.yaml").read(), name="compose.yaml").findings:
    print(found.line, found.code, found.message)
"""

from __future__ import annotations

from planner.review.judge import review

__all__ = ["review"]
