// Whether what is sent between the GPUs of a host arrives, and how fast: drivers, containers and
// switches differ in what they let CUDA IPC do.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/cuda/cuda_device.h"

namespace longspan {

/// Sends messages of all sizes that matter between all pairs of ranks, and looks at them. Every
/// rank calls it. Returns a line for a log: what a link carries. Throws CommError where something
/// else arrived, and what exchanges throw.
std::string try_out(Communicator& peers, CudaDevice& gpu);

/// Whether a large message reaches this rank from its neighbour in a ring while a kernel has this
/// GPU to itself. Every rank calls it, each with a GPU of its own. Takes a fifth of a second where
/// it does not.
bool arrives_beside_kernels(Communicator& peers, CudaDevice& gpu);

}  // namespace longspan
