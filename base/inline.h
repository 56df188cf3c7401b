/* SPDX-License-Identifier: MIT
 *
 * Functions short enough for a header, of which some run inside GPU kernels too: one definition, so that the
 * host and the device cannot come to disagree about a rounding or a random number.
 */
#ifndef MUSTER_BASE_INLINE_H
#define MUSTER_BASE_INLINE_H

#ifdef __CUDACC__
#define MUSTER_INLINE static __inline__ __host__ __device__
#else
#define MUSTER_INLINE static inline
#endif

#endif
