/* The one DLL that Wine 8 lacks and every Rust program imports: random bytes for the keys of hash tables. Built by the rig
 * `wine` and put into its own prefix only. Later releases of Wine have it, and then nothing is built. */
#include <windows.h>
#include <bcrypt.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    const ULONG most = 1u << 30;
    while (length > 0) {
        ULONG part = length < most ? (ULONG)length : most;
        if (BCryptGenRandom(NULL, data, part, BCRYPT_USE_SYSTEM_PREFERRED_RNG) != 0)
            return FALSE;
        data += part;
        length -= part;
    }
    return TRUE;
}
