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

template <Activation A, int N>
inline void ActivateAll(Vec (&z)[N]) {
  UNROLL for (int n = 0; n < N; ++n) z[n] = Activate<A>(z[n]);
}

// For tiles, whose activation is known at run time only.
template <int N>
inline void ActivateAll(int64_t activation, Vec (&z)[N]) {
  switch (activation) {
    case kRelu: return ActivateAll<kRelu>(z);
    case kRelu6: return ActivateAll<kRelu6>(z);
    case kHswish: return ActivateAll<kHswish>(z);
  }
}

// What is done to a sum before it is stored for the last time: a bias is added (null for none), then
// the result activated.
struct Finish {
  const float* bias;
  int64_t activation;
  Finish at(Index channel) const { return {bias ? bias + channel : nullptr, activation}; }
};

}  // namespace

#endif  // HWNAS_CPP_ACTIVATIONS_H_
