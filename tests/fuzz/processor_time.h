// What an oracle of time asks: the processor's time of this process. Clocks on the wall also count
// while a busy machine runs others.
#pragma once

#include <ctime>

namespace longspan::test {

inline double processor_seconds() {
  return static_cast<double>(std::clock()) / static_cast<double>(CLOCKS_PER_SEC);
}

}  // namespace longspan::test
