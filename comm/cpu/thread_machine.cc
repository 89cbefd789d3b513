#include "comm/cpu/thread_machine.h"

#include <numeric>

#include "comm/host.h"

namespace longspan {

ThreadMachine::ThreadMachine(std::shared_ptr<ThreadWorld> data,
                             std::shared_ptr<ThreadWorld> control, int rank, int threads)
    : data_(std::move(data)),
      control_(std::move(control)),
      rank_(rank),
      device_(threads),
      host_ranks_(static_cast<std::size_t>(data_->size())),
      host_(host_name()) {
  std::iota(host_ranks_.begin(), host_ranks_.end(), 0);
}

}  // namespace longspan
