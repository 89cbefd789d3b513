#include "runtime/model/rope_spec.h"

#include "comm/str.h"

namespace longspan {
namespace {

std::string describe_scaling(const RopeSpec& spec) {
  switch (spec.scaling) {
    case RopeScaling::kNone:
      return "";
    case RopeScaling::kLinear:
      return str(", linear by {}", spec.factor);
    case RopeScaling::kDynamic:
      return str(", dynamic by {} from {} tokens", spec.factor, spec.original_context);
    case RopeScaling::kYarn:
      return str(", YaRN by {} from {} tokens", spec.factor, spec.original_context);
    case RopeScaling::kLlama3:
      return str(", llama3 by {} from {} tokens", spec.factor, spec.original_context);
    case RopeScaling::kLongRope:
      return str(", LongRoPE from {} tokens", spec.original_context);
  }
  return "";
}

}  // namespace

std::string describe(const RopeSpec& spec) {
  std::string text = str("base {}", spec.base) + describe_scaling(spec);
  if (spec.rotated > 0) text += str(", of the first {} dimensions", spec.rotated);
  return text;
}

}  // namespace longspan
