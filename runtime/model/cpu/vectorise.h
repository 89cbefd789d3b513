// One source, several instruction sets: a loop body compiled for each and chosen at run time.
//
//   vectorised([=]() LONGSPAN_INLINE_BODY { for (...) ...; });
//
// The body must be inlined into a function of each instruction set, so it calls nothing that is not
// inlined as well. This needs no ifunc (which runs before the sanitizers are ready) and no
// translation units of their own (whose inline functions the linker could pick for every machine).
#pragma once

#include <string_view>

namespace longspan {

enum class VectorIsa { kBaseline, kAvx2, kAvx512 };

std::string_view name(VectorIsa isa);

/// The widest that this machine has, or the one LONGSPAN_CPU_ISA (scalar, avx2, avx512) names if it
/// has that.
VectorIsa vector_isa();

#define LONGSPAN_INLINE_BODY __attribute__((always_inline))

#if defined(__x86_64__)
template <typename Body>
[[gnu::target("avx2,fma")]] auto on_avx2(Body body) {
  return body();
}

template <typename Body>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")]] auto
on_avx512(Body body) {
  return body();
}
#else
template <typename Body>
auto on_avx2(Body body) {
  return body();
}

template <typename Body>
auto on_avx512(Body body) {
  return body();
}
#endif

template <typename Body>
auto vectorised(Body body) {
  switch (vector_isa()) {
    case VectorIsa::kAvx512:
      return on_avx512(body);
    case VectorIsa::kAvx2:
      return on_avx2(body);
    case VectorIsa::kBaseline:
      break;
  }
  return body();
}

}  // namespace longspan
