#include "launch/write_manifest.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "comm/error.h"
#include "comm/file_error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "launch/progress.h"
#include "launch/terminal.h"
#include "runtime/model/model_manifest.h"

namespace longspan {
namespace {

std::string content_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

[[noreturn]] void fail_to_write(const std::filesystem::path& file, int error) {
  throw_write_error(error, str("{}: cannot be written: {}", file.string(), std::strerror(error)));
}

/// By way of a file beside it, so that nobody reads half of it.
void write_whole(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::path draft = file;
  draft += str(".{}", getpid());
  errno = 0;
  std::ofstream out(draft, std::ios::binary);
  out << text;
  out.close();
  if (out && std::rename(draft.c_str(), file.c_str()) == 0) return;
  const int error = errno;
  std::remove(draft.c_str());
  fail_to_write(file, error);
}

}  // namespace

std::string write_manifest(const TensorFile& model, bool replaces) {
  const auto start = std::chrono::steady_clock::now();
  const ModelFiles files = files_of(model);
  LoadingBar bar("hashing", shows_on_terminal(STDERR_FILENO));
  const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const ModelManifest manifest = ModelManifest::made_of(
      files, threads, [&](std::uint64_t done, std::uint64_t total) { bar.bytes(done, total); });
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;

  const std::string count = count_text(manifest.files(), "file");
  if (std::filesystem::exists(files.manifest)) {
    if (content_of(files.manifest) == manifest.text()) {
      return str("{} is right: {}", files.manifest.string(), count);
    }
    if (!replaces) {
      throw DataError(
          str("{}: says something else than the files do: keep it, and find out with "
              "generate what differs; or replace it with --force",
              files.manifest.string()));
    }
  }
  write_whole(files.manifest, manifest.text());
  return str("wrote {}: {}, {} in {:.1f} s ({:.2f} GB/s)", files.manifest.string(), count,
             human_bytes(static_cast<std::int64_t>(manifest.bytes())), taken.count(),
             static_cast<double>(manifest.bytes()) / taken.count() / 1e9);
}

}  // namespace longspan
