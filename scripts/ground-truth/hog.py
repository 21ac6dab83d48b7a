"""Takes the first GPU's memory away at a word: ``hog.py LEAVE_MIB take|hold``, driver calls alone, no framework.

Says a line when it is there. `take` allocates at the first line that it reads, until LEAVE_MIB are free, and says
another; `hold` allocates at once and gives all back at the first line.
"""

from __future__ import annotations

import ctypes
import sys

MIB = 1 << 20


def main() -> None:
    leave, what = int(sys.argv[1]) * MIB, sys.argv[2]
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context, free, total = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    for code in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        cuda.cuCtxSetCurrent(context),
    ):
        if code:
            raise SystemExit(f"the driver says {code}")
    held: list[ctypes.c_void_p] = []

    def take() -> None:
        size = 1 << 36
        while size >= 2 * MIB:
            cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            address = ctypes.c_void_p()
            if free.value - size < leave or cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)):
                size //= 2
            else:
                held.append(address)

    if what == "hold":
        take()
    print("there", flush=True)
    for _ in sys.stdin:
        if what == "hold":
            for address in held:
                cuda.cuMemFree_v2(address)
            held.clear()
        else:
            take()
        cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        print(f"free: {free.value // MIB} MiB", flush=True)


if __name__ == "__main__":
    main()
