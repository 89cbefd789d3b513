// What longspan uses of NCCL, loaded when several GPUs are used. Declared here, since distributions
// have no package of its headers; the library is libnccl.so.2, 2.18 or newer.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "comm/shared_library.h"

namespace longspan {

class Nccl {
 public:
  // As nccl.h has them; of enumerations the values that are used.

  using Communicator = struct ncclComm*;
  struct UniqueId {
    char internal[128];
  };
  enum Result : int { kSuccess = 0, kInProgress = 7 };
  enum Type : int { kBytes = 1 };
  /// Its first fields, which its size and version say; the library fills in the rest.
  struct Config {
    std::size_t size = sizeof(Config);
    unsigned magic = 0xcafebeef;
    unsigned version = 21400;
    int blocking = 0;
  };

  /// The process's. Throws DeviceError where the library is missing, naming its package.
  static const Nccl& get();

  Result (*get_version)(int* version);
  Result (*get_unique_id)(UniqueId* id);
  Result (*new_communicator)(Communicator* made, int ranks, UniqueId id, int rank, Config* config);
  Result (*finalize)(Communicator communicator);
  Result (*destroy)(Communicator communicator);
  Result (*abort)(Communicator communicator);
  Result (*get_async_error)(Communicator communicator, Result* error);
  Result (*send)(const void* from, std::size_t count, Type type, int peer,
                 Communicator communicator, cudaStream_t stream);
  Result (*receive)(void* to, std::size_t count, Type type, int peer, Communicator communicator,
                    cudaStream_t stream);
  Result (*begin_group)();
  Result (*end_group)();

  /// "NCCL 2.28.3".
  std::string version() const;
  /// "unhandled cuda error", and what the library said last of `communicator`, which may be null.
  std::string reason(Result result, Communicator communicator) const;
  /// Throws DeviceError "attempt: reason" unless the result is success, or that it is under way.
  void check(Result result, std::string_view attempt) const;

 private:
  Nccl();

  SharedLibrary library_;
  const char* (*error_string_)(Result result);
  const char* (*last_error_)(Communicator communicator);
};

}  // namespace longspan
