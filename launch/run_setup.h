// What the commands that run a model over ranks have in common: from options to a job.
#pragma once

#include <string>
#include <vector>

#include "comm/machine.h"
#include "launch/answer_json.h"
#include "launch/on_machine.h"
#include "launch/options.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"

namespace longspan {

/// The ranks that the options ask for.
MachineRequest machine_request(const GenerateOptions& options);

/// Whether every rank can keep evicted pages where it is to, if it is. Every rank calls it; throws
/// on all as expect_disk_folder().
void expect_kv_disk(Machine& machine, const GenerateOptions& options);

/// How groups of one degree are to share sequences.
struct Split {
  int degree = 1;
  int groups = 1;
  std::vector<PlannedStrategy> plans;  // one, or several to choose from
  std::vector<int> hosts;              // a number for that of each instance of the groups
};

/// Of each degree that is asked for: one unless they are compared, all instances unless one is
/// named, or the policy says how many. No more groups than `sequences` that may be under way at
/// once, and one where degrees are compared. Every rank calls it; the same on all. Throws
/// UsageError where model, options and the job's number of ranks do not go together.
std::vector<Split> splits(Machine& machine, const GenerateOptions& options,
                          const ModelConfig& model, int sequences);

/// Measured, or read from an earlier start, if there is a choice. Every rank calls it.
MachineRates machine_rates(Machine& machine, const GenerateOptions& options,
                           AttentionKernels& kernels, const Split& split);

/// `options` must have been suited to the machine's backend (device_defaults.h).
JobOptions job_options(Machine& machine, const GenerateOptions& options, const Split& split,
                       const MachineRates& rates, Precision precision);

/// The model that is named, to be read and turned as is asked for. Every rank calls it.
OpenedModel open_asked(Machine& machine, const GenerateOptions& options);

/// Of pages: as narrow as what is computed with, unless asked otherwise.
KvType kv_type(const GenerateOptions& options, Precision precision);

/// Every rank calls it; a bar on rank 0's terminal shows how far it is.
LoadedModel load_with_bar(Machine& machine, const GenerateOptions& options, OpenedModel opened,
                          Precision precision);
/// "checked", "none" or "ignored": what becomes of the model's manifest.
std::string manifest_word(const GenerateOptions& options, const OpenedModel& opened);
/// A line for people, unless they asked for JSON.
void say_loaded(const GenerateOptions& options, const LoadedModel& model, double seconds,
                const std::string& manifest);

/// How tokens are chosen; rank 0 alone reads the model's defaults and draws a seed.
Sampling make_sampling(const GenerateOptions& options, const Tokenizer& tokenizer);

/// All but what the ranks report at the end.
RunFacts run_facts(const GenerateOptions& options, const LoadedModel& model, int degree,
                   Precision precision, const Sampling& sampling, double load_s,
                   const std::string& manifest);

/// A line for people that says which groups there are, unless they asked for JSON or there is one
/// and nobody asked.
void say_groups(const GenerateOptions& options, const Split& split);

/// "4 ranks", "2 instances of 3 ranks"
std::string ranks_text(int degree, int tp);

}  // namespace longspan
