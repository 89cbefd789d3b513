// What a fuzzer made up, as a file: our readers take paths.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>

namespace longspan::test {

/// Holds `bytes` until the next call. Of this process, since several fuzzers may run at once.
inline std::filesystem::path scratch_file(std::span<const std::uint8_t> bytes) {
  const auto path =
      std::filesystem::temp_directory_path() / ("longspan-fuzz-" + std::to_string(getpid()));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  return path;
}

}  // namespace longspan::test
