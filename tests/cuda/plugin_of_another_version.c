/* SPDX-License-Identifier: MIT
 *
 * A plug-in that an installation of another version of muster could have left behind.
 */
#include "kernels/cuda/cuda_plugin.h"

__attribute__((visibility("default"))) extern const struct cuda_plugin muster_cuda_plugin;

const struct cuda_plugin muster_cuda_plugin = {.version = CUDA_PLUGIN_VERSION + 1};
