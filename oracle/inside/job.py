"""Entry of the child process: one job file in, one result file out; everything it pretends is listed in the result."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def _prepare(job: dict[str, Any]) -> Any:
    """Pretend the device and import vLLM; the order matters. Returns the device, which tasks may change."""
    import torch
    import torch._dynamo
    import torch._inductor
    from torch._dynamo.trace_rules import get_torch_obj_rule_map

    get_torch_obj_rule_map()  # reads torch.cuda before it is patched
    vision_ops = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):  # torchvision's CUDA build cannot load beside a CPU-only torch
        vision_ops.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")

    from oracle.inside import counter, device, engine, hollow, kernels, platform, ranks

    counter.load_guard(job["guard"])
    spec = job["device"]
    pretended = device.Device(**{**spec, "capability": tuple(spec["capability"])})
    device.pretend(pretended)
    finder = None
    if pretended.vendor == "cuda":
        finder = hollow.FlashInferFinder(Path(job["flashinfer"]["folder"]), job["flashinfer"]["version"])
        engine.on_new_start(finder.buffers.clear)
    hollow.install(job["hollow"], finder)
    kernels.install_compiled_ops(pretended.vendor)
    platform.install(pretended)
    kernels.install_fused_compile()
    kernels.install_kernel_dispatch()
    engine.install()
    ranks.install()
    return pretended, vision_ops  # the library's operations live as long as it does


def main(job_path: str, result_path: str) -> None:
    """Run every task of the job; a task that fails becomes a gap with its reason, never a guess."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    keep = _prepare(job)
    logging.disable(logging.WARNING)
    gc.collect()
    gc.freeze()  # vLLM collects garbage many times per start-up; modules need not be looked through each time
    from oracle.inside import tasks

    results: list[dict[str, Any]] = []
    for task in job["tasks"]:
        began = time.perf_counter()
        try:
            out = tasks.run(task, job, keep[0])
            entry: dict[str, Any] = {"task": task, "result": out}
        except Exception as error:
            if job.get("verbose"):
                traceback.print_exc()
            entry = {"task": task, "error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        entry["seconds"] = round(time.perf_counter() - began, 2)
        print(f"{entry['seconds']:6.1f} s  {task} {entry.get('error', '')}", file=sys.stderr, flush=True)
        results.append(entry)
    Path(result_path).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
