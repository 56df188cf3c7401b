/* SPDX-License-Identifier: MIT
 *
 * A driver library that does nothing and says that it worked: enough for cuDNN to choose engines and finish
 * plans for a device that is only described (test_cuda_sdpa.c). Nothing can run on it.
 */
#define FAKE_NOTHING(name)                                                                                   \
    __attribute__((visibility("default"))) int name(void);                                                   \
    int name(void)                                                                                           \
    {                                                                                                        \
        return 0;                                                                                            \
    }

#define FAKE_EXPORT __attribute__((visibility("default")))

/* What loading code returns; a test may set it. */
FAKE_EXPORT extern int fake_libcuda_load_result;
int fake_libcuda_load_result = 0;

FAKE_EXPORT int cuInit(unsigned flags);
FAKE_EXPORT int cuDriverGetVersion(int *version);
FAKE_EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device);
FAKE_EXPORT int cuLibraryLoadData(void **library, const void *code);
FAKE_EXPORT int cuLibraryGetKernel(void **kernel, void *library, const char *name);
FAKE_EXPORT int cuKernelGetAttribute(int *value, int attribute, void *kernel, int device);

/* 100 is "no device": the runtime inside cuDNN then asks for nothing more. */
int cuInit(unsigned flags)
{
    (void)flags;
    return 100;
}

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return 0;
}

/* Compute capability 9.0 with 132 multiprocessors. */
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == 75 ? 9 : attribute == 16 ? 132 : 0;
    return 0;
}

int cuLibraryLoadData(void **library, const void *code)
{
    static char a_library;
    (void)code;
    *library = &a_library;
    return fake_libcuda_load_result;
}

int cuLibraryGetKernel(void **kernel, void *library, const char *name)
{
    static char a_kernel;
    (void)library;
    (void)name;
    *kernel = &a_kernel;
    return 0;
}

/* Attribute 4 is the number of registers, which a plan is judged by. */
int cuKernelGetAttribute(int *value, int attribute, void *kernel, int device)
{
    (void)kernel;
    (void)device;
    *value = attribute == 4 ? 168 : 0;
    return 0;
}

FAKE_NOTHING(cuGetErrorName)
FAKE_NOTHING(cuGetErrorString)
FAKE_NOTHING(cuCtxGetCurrent)
FAKE_NOTHING(cuCtxGetLimit)
FAKE_NOTHING(cuCtxPopCurrent)
FAKE_NOTHING(cuCtxPushCurrent)
FAKE_NOTHING(cuStreamGetCtx)
FAKE_NOTHING(cuLinkCreate)
FAKE_NOTHING(cuLinkAddData)
FAKE_NOTHING(cuLinkComplete)
FAKE_NOTHING(cuLinkDestroy)
FAKE_NOTHING(cuLaunchKernel)
FAKE_NOTHING(cuLaunchKernelEx)
FAKE_NOTHING(cuLaunchCooperativeKernel)
FAKE_NOTHING(cuDeviceGetCount)
FAKE_NOTHING(cuDeviceGet)
FAKE_NOTHING(cuLibraryLoadFromFile)
FAKE_NOTHING(cuLibraryUnload)
FAKE_NOTHING(cuKernelSetAttribute)
FAKE_NOTHING(cuOccupancyMaxPotentialClusterSize)
