// What every transport between GPUs does with an exchange, around what it sends.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_stream.h"

namespace longspan {

/// Messages of `rank` to itself become copies on `stream` and leave the lists.
void copy_own_messages(CudaDevice& gpu, CudaStream& stream, int rank, std::vector<Send>& sends,
                       std::vector<Receive>& receives);

/// What to say of an exchange that is not done by its deadline.
std::string overdue(int rank, const std::vector<Send>& sends, const std::vector<Receive>& receives,
                    std::chrono::milliseconds deadline);

}  // namespace longspan
