// How exactly products are taken.
#pragma once

#include <string_view>

namespace longspan {

/// The type of both factors. Sums are float32 always, and so is what goes from one operation to the
/// next.
enum class Precision { kFloat32, kBFloat16 };

inline std::string_view name(Precision precision) {
  return precision == Precision::kBFloat16 ? "bfloat16" : "float32";
}

}  // namespace longspan
