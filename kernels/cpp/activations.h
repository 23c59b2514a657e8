// Activations that kernels apply in the pass that makes their argument.

#ifndef HWNAS_CPP_ACTIVATIONS_H_
#define HWNAS_CPP_ACTIVATIONS_H_

#include <cstdint>

#include "cpp/vectors.h"

namespace {

// In the order of `kernels.epilogue.ACTIVATIONS`.
enum Activation : int64_t { kNone, kRelu, kRelu6, kHswish };

inline Vec Clip6(Vec z) {
  const Vec low = z > 0.0f ? z : Vec{};
  return low < 6.0f ? low : Splat(6.0f);
}

template <Activation A>
inline Vec Activate(Vec z) {
  if (A == kRelu) return z > 0.0f ? z : Vec{};
  if (A == kRelu6) return Clip6(z);
  if (A == kHswish) return z * Clip6(z + 3.0f) * (1.0f / 6.0f);
  return z;
}

// g times the activation's derivative at z.
template <Activation A>
inline Vec Pull(Vec g, Vec z) {
  if (A == kRelu) return z > 0.0f ? g : Vec{};
  if (A == kRelu6) return (z > 0.0f) & (z < 6.0f) ? g : Vec{};
  if (A == kHswish) {
    const Vec t = z + 3.0f;
    const Vec slope = Clip6(t) + ((t > 0.0f) & (t < 6.0f) ? z : Vec{});
    return g * slope * (1.0f / 6.0f);
  }
  return g;
}

// For tiles, whose activation is known at run time only.
inline Vec Activate(int64_t activation, Vec z) {
  switch (activation) {
    case kRelu: return Activate<kRelu>(z);
    case kRelu6: return Activate<kRelu6>(z);
    case kHswish: return Activate<kHswish>(z);
    default: return z;
  }
}

}  // namespace

#endif  // HWNAS_CPP_ACTIVATIONS_H_
