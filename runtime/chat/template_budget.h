// What one rendering may use: a template comes with a model, and so from a stranger.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longspan {

inline constexpr std::int64_t kMostTemplateSteps = 1'000'000;
inline constexpr std::size_t kMostTemplateBytes = std::size_t{4} << 20;
/// Of expressions, statements, macros and recursive loops in each other while they run.
inline constexpr int kDeepestTemplate = 500;

class TemplateBudget {
 public:
  /// A step is an expression, a statement, an item of a list, or 64 bytes of text that are made.
  /// Faults when all are used up.
  void charge(std::size_t steps = 1);
  /// For a text of so many bytes, before it is made. Faults also if it alone is too long.
  void charge_text(std::size_t bytes);

 private:
  std::int64_t left_ = kMostTemplateSteps;
};

}  // namespace longspan
