// Rows on all threads of the stream, when there is enough to do for them.
#pragma once

#include <omp.h>

#include <cstdint>

namespace longspan {

/// Calls body(row) for every row. With one thread no parallel region is entered.
template <typename Body>
void for_rows(std::int64_t rows, std::int64_t row_values, const Body& body) {
  // Waking a team costs about 5 us; an element about 0.3 ns and up.
  constexpr std::int64_t kWorthATeam = 64 * 1024;
  if (omp_get_max_threads() == 1 || rows < 2 || rows * row_values < kWorthATeam) {
    for (std::int64_t row = 0; row < rows; ++row) body(row);
    return;
  }
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) body(row);
}

}  // namespace longspan
