// Work that threads share out among themselves, a piece at a time.
#pragma once

#include <cstddef>
#include <functional>

namespace longspan {

/// Does `work(piece, thread)` once for each piece of [0, pieces), begun in that order by `threads`
/// threads, numbered from 0, each of which takes the next piece when it has done one. The first
/// failure is rethrown when all threads have ended; no piece is begun after it.
void share_work(std::size_t pieces, int threads,
                const std::function<void(std::size_t piece, int thread)>& work);

}  // namespace longspan
