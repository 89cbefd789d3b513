// What a fuzzer finds wrong ends the process, so that libFuzzer keeps the input.
#pragma once

#include <cstdlib>
#include <iostream>

namespace longspan::test {

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::cerr << what << '\n';
  std::abort();
}

}  // namespace longspan::test
