// A rank's side of a step, as the coordinator and its followers know it. Worker computes with a
// model; a stand-in that computes nothing shows what coordinating alone costs.
#pragma once

#include <vector>

#include "runtime/engine/instance_ranks.h"
#include "runtime/engine/messages.h"
#include "runtime/model/transformer.h"

namespace longspan {

struct PagesReport;
struct RestorePages;
struct SavePages;

class StepWorker {
 public:
  StepWorker() = default;
  StepWorker(const StepWorker&) = delete;
  StepWorker& operator=(const StepWorker&) = delete;
  virtual ~StepWorker() = default;

  /// A request of a name that is known goes on with its pages; all else is as of a new one.
  virtual void admit(Admission admission) = 0;
  /// Does this rank's part of the step and waits for it; a rank outside the group only forgets what
  /// is finished. `layer_done`, if any, hears of each layer on the stream's own thread.
  virtual StepReport execute(const StepOrder& order, const LayerDone& layer_done) = 0;
  StepReport execute(const StepOrder& order) { return execute(order, nullptr); }
  /// Begins to send this rank's of `pages`, in order, and waits for nothing.
  virtual void send_pages(const std::vector<PageSend>& pages) = 0;
  virtual RankSummary summary() const = 0;

  /// Writes this rank's pages of a held request, or takes up a conversation whose pages are files.
  /// What goes wrong is in the report.
  virtual PagesReport save_pages(const SavePages& order) = 0;
  virtual PagesReport restore_pages(const RestorePages& order) = 0;

  /// Whether this rank computes some of the step.
  virtual bool takes_part(const StepPlan& plan) const = 0;
  virtual const InstanceRanks& ranks() const = 0;
};

}  // namespace longspan
