"""Makes stand-ins for the driver's libraries, so that imports are rehearsed on a machine without a GPU.

    python stub.py SITE_PACKAGES OUT && LD_LIBRARY_PATH=OUT python -c 'import vllm'

OUT gets ``libcuda.so.1``, whose every call says that it is not initialised and then that there is no device, and
``libnvidia-ml.so.1``, which shows two H100. A process that initialises the driver prints ``cuInit called``: no
fork server may. With ``STUB_TRACE`` set it also raises SIGUSR1 there, for ``faulthandler.register``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SPECIAL = {
    "cuInit": 'int cuInit(unsigned f){started=1;fprintf(stderr,"cuInit called\\n");'
    'if(getenv("STUB_TRACE"))raise(SIGUSR1);return 100;}',
    "cuDeviceGetCount": "int cuDeviceGetCount(int*c){return state();}",
    "cuDriverGetVersion": "int cuDriverGetVersion(int*v){*v=13000;return 0;}",
    "cuGetProcAddress_v2": "int cuGetProcAddress_v2(const char*s,void**p,int v,unsigned long long f,void*q)"
    "{*p=find(s);return 0;}",
}
NVML = """
#include <string.h>
typedef void* H; typedef struct {unsigned long long total, available, used;} M;
int nvmlInit(){return 0;} int nvmlInit_v2(){return 0;} int nvmlInitWithFlags(unsigned f){return 0;}
int nvmlShutdown(){return 0;} const char* nvmlErrorString(int e){return "stub";}
int nvmlDeviceGetCount(unsigned*c){*c=2;return 0;} int nvmlDeviceGetCount_v2(unsigned*c){*c=2;return 0;}
int nvmlDeviceGetHandleByIndex(unsigned i,H*h){*h=(H)(long)(i+1);return 0;}
int nvmlDeviceGetHandleByIndex_v2(unsigned i,H*h){*h=(H)(long)(i+1);return 0;}
int nvmlDeviceGetCudaComputeCapability(H h,int*a,int*b){*a=9;*b=0;return 0;}
int nvmlDeviceGetName(H h,char*n,unsigned l){strncpy(n,"NVIDIA H100 80GB HBM3",l);return 0;}
int nvmlDeviceGetUUID(H h,char*n,unsigned l){strncpy(n,"GPU-00000000-0000-0000-0000-000000000001",l);return 0;}
int nvmlDeviceGetMemoryInfo(H h,M*m){m->total=85520809984ULL;m->available=85017493504ULL;m->used=0;return 0;}
int nvmlDeviceGetP2PStatus(H a,H b,int x,int*s){*s=0;return 0;}
int nvmlSystemGetDriverVersion(char*v,unsigned l){strncpy(v,"580.159.04",l);return 0;}
"""


def wanted(site: Path) -> set[str]:
    """Return the driver's functions that the libraries under `site` ask for when they are loaded."""
    found = set(SPECIAL)
    for part in ("torch", "vllm", "triton", "nvidia/nccl", "nvidia/nvshmem", "nvidia/cu13", "tvm_ffi"):
        for library in (site / part).rglob("*.so*"):
            listed = subprocess.run(
                ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=False
            )
            found |= set(re.findall(r" U (cu[A-Z]\w*)", listed.stdout))
    return found


def main() -> None:
    site, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    names = sorted(wanted(site))
    lines = ["#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>", "#include <signal.h>"]
    lines += ["static int started=0; int state(){return started?100:3;} void*find(const char*);"]
    lines += [SPECIAL.get(name, f"int {name}(){{return state();}}") for name in names]
    lines += ["void*find(const char*s){", *(f'if(!strcmp(s,"{n}"))return(void*){n};' for n in names)]
    lines += ["return(void*)state;}"]
    for source, library in (("\n".join(lines), "libcuda.so.1"), (NVML, "libnvidia-ml.so.1")):
        options = ["-x", "c", "-", "-w", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(out / library)]
        subprocess.run(["gcc", *options], input=source, text=True, check=True)


if __name__ == "__main__":
    main()
