/* The one function of bcryptprimitives.dll that Rust's standard library asks for, and that Wine 8 does not have. */
#include <stdbool.h>
#include <stddef.h>

/* advapi32 exports RtlGenRandom under this name only. */
bool __stdcall SystemFunction036(void *buffer, unsigned long length);

__declspec(dllexport) bool __stdcall ProcessPrng(void *buffer, size_t length)
{
    return SystemFunction036(buffer, (unsigned long)length);
}
