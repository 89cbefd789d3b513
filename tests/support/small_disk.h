// A limit on the size of files, in place of a disk that is full.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <cstddef>

namespace longspan::test {

/// Files may not grow beyond so many bytes while it lives.
class SmallDisk {
 public:
  explicit SmallDisk(std::size_t bytes) : before_signal_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, before_signal_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  rlimit before_{};
  void (*before_signal_)(int);
};

}  // namespace longspan::test
