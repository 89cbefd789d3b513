#include "attention/cpu/workspace.h"

#include <utility>

namespace longspan {

std::unique_ptr<Workspace> WorkspacePool::take(int threads) {
  std::unique_ptr<Workspace> workspace;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      workspace = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!workspace) workspace = std::make_unique<Workspace>();
  while (static_cast<int>(workspace->threads.size()) < threads) {
    workspace->threads.push_back(std::make_unique<ThreadWorkspace>(kernels_, shape_));
  }
  return workspace;
}

void WorkspacePool::put(std::unique_ptr<Workspace> workspace) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

}  // namespace longspan
