// Keeps a second run away from an output file while one is writing it.
//
// The lock is the kernel's (flock), so it is gone as soon as its holder is, however that ended; the
// file beside the output only says who holds it.
#pragma once

#include <chrono>
#include <filesystem>

#include "launch/batch/open_file.h"

namespace longspan {

class BatchLock {
 public:
  /// Locks `path`, a file that is made for it. Waits for a holder up to `patience`, then throws
  /// Error(kTemporary) that names process and host of the holder. `output`: what is locked, for
  /// people.
  BatchLock(std::filesystem::path path, const std::filesystem::path& output,
            std::chrono::milliseconds patience);
  /// Removes the file.
  ~BatchLock();
  BatchLock(const BatchLock&) = delete;
  BatchLock& operator=(const BatchLock&) = delete;

 private:
  bool try_lock();
  std::string holder() const;

  OpenFile file_;
};

}  // namespace longspan
