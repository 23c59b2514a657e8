/* Which kernels a core runs: SIMD ones where it has the DSP extension of Arm. */
#ifndef CORES_H
#define CORES_H

#if defined(__ARM_FEATURE_DSP) && !defined(HWNAS_PORTABLE)
#define HWNAS_SIMD
#endif

#endif
