"""Compiles a FlashInfer module into the place where the engine takes it as it is: ``sampling`` or ``trtllm_comm``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    from flashinfer.jit.comm import gen_trtllm_comm_module
    from flashinfer.jit.sampling import gen_sampling_module

    module = {"sampling": gen_sampling_module, "trtllm_comm": gen_trtllm_comm_module}[sys.argv[1]]()
    if module.is_aot:
        return
    module.build(verbose=False)
    cache = Path(os.environ["FLASHINFER_WORKSPACE_BASE"]) / ".cache"
    built = next(cache.rglob(f"{sys.argv[1]}.so"))
    module.aot_path.parent.mkdir(parents=True, exist_ok=True)
    part = module.aot_path.with_suffix(".part")
    shutil.copy(built, part)
    part.rename(module.aot_path)


if __name__ == "__main__":
    main()
