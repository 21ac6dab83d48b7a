"""Plans over HTTP: ``uvicorn examples.fastapi_app:app`` and ``GET /plan?gpus=8xH200``.

The answer is the JSON document of ``m35-plan --json``; a plan that does not fit is an answer too (409).
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Response

from hw_specs import parse_gpus
from planner import M35Error, PlanRequest, plan, plan_document, to_json_value

app = FastAPI(title="m35-plan")


@app.get("/plan")
def get_plan(
    response: Response, gpus: str, max_model_len: int | None = None, text_only: bool = False
) -> dict[str, Any]:
    """Plan for `gpus`; 422 names what makes no sense and what would."""
    try:
        request = PlanRequest(gpus=parse_gpus(gpus), max_model_len=max_model_len, language_model_only=text_only)
        answer = plan(request)
    except M35Error as error:
        raise HTTPException(status_code=422, detail={"error": str(error), "hint": error.hint}) from error
    response.status_code = 200 if answer.feasible else 409
    return to_json_value(plan_document(answer))
