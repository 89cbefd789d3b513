#include "comm/cuda/gpu_exchange.h"

#include <algorithm>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

void copy_own_messages(CudaDevice& gpu, CudaStream& stream, int rank, std::vector<Send>& sends,
                       std::vector<Receive>& receives) {
  const auto is_own = [rank](const auto& message) { return message.peer == rank; };
  auto receive = std::ranges::find_if(receives, is_own);
  for (const Send& send : sends) {
    if (!is_own(send)) continue;
    expects(receive != receives.end() && receive->bytes.size() == send.bytes.size(),
            "what a rank sends to itself it receives");
    gpu.copy(stream, receive->bytes, send.bytes);
    receive = std::find_if(receive + 1, receives.end(), is_own);
  }
  std::erase_if(sends, is_own);
  std::erase_if(receives, is_own);
}

std::string overdue(int rank, const std::vector<Send>& sends, const std::vector<Receive>& receives,
                    std::chrono::milliseconds deadline) {
  std::string list;
  for (const Receive& receive : receives) {
    list += str("; it receives from rank {} ({} bytes)", receive.peer, receive.bytes.size());
  }
  for (const Send& send : sends) {
    list += str("; it sends to rank {} ({} bytes)", send.peer, send.bytes.size());
  }
  return str("rank {}: exchange not done after {:.3f} s{}", rank,
             std::chrono::duration<double>(deadline).count(), list);
}

}  // namespace longspan
