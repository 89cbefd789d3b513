#include "comm/cuda/nccl.h"

#include <type_traits>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr int kLeastVersion = 21800;

}  // namespace

Nccl::Nccl()
    : library_({"libnccl.so.2"},
               "several GPUs need NCCL: install NVIDIA's package libnccl2, or add the folder of "
               "libnccl.so.2 to LD_LIBRARY_PATH") {
  const auto find = [this](auto& function, const char* symbol) {
    function = library_.function<std::remove_reference_t<decltype(function)>>(symbol);
  };
  find(get_version, "ncclGetVersion");
  find(get_unique_id, "ncclGetUniqueId");
  find(new_communicator, "ncclCommInitRankConfig");
  find(finalize, "ncclCommFinalize");
  find(destroy, "ncclCommDestroy");
  find(abort, "ncclCommAbort");
  find(get_async_error, "ncclCommGetAsyncError");
  find(send, "ncclSend");
  find(receive, "ncclRecv");
  find(begin_group, "ncclGroupStart");
  find(end_group, "ncclGroupEnd");
  find(error_string_, "ncclGetErrorString");
  find(last_error_, "ncclGetLastError");
  int version = 0;
  get_version(&version);
  if (version >= kLeastVersion) return;
  throw DeviceError(
      str("{} is too old: longspan needs 2.18 or newer (package libnccl2)", this->version()));
}

const Nccl& Nccl::get() {
  static const Nccl library;
  return library;
}

std::string Nccl::version() const {
  int version = 0;
  get_version(&version);
  return str("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string Nccl::reason(Result result, Communicator communicator) const {
  const char* last = last_error_(communicator);
  std::string text = error_string_(result);
  if (last != nullptr && *last != '\0') text += str(" ({})", last);
  return text;
}

void Nccl::check(Result result, std::string_view attempt) const {
  if (result == kSuccess || result == kInProgress) return;
  throw DeviceError(str("{}: {}", attempt, reason(result, nullptr)));
}

}  // namespace longspan
