// Many requests at once over the ranks of a job: submit them, hear of their tokens, abort any.
//
//   submit --> waiting --> its prompt is read --> tokens --> finished
//                 abort, from any of these; the others go on as if it had never been there
//
//   Engine::open(machine, model, options, rank == 0 ? &setup : nullptr, [&](Engine& engine) {
//     engine.submit({.prompt = prompt,
//                    .max_new = 64,
//                    .on_token = [&](const Scored& token) { show(token.chosen.id); },
//                    .on_finished = [&](const Finish& finish) { show(finish.tokens); }});
//     while (engine.step()) {
//     }
//   });
//
// One thread runs steps, and all that a request wants to hear is called by it. Any thread may
// submit, abort and ask for stats: what they say of a request is heeded before the next step of its
// group, so that an abort takes effect at the next chunk or token. In a run of steps of one of
// several groups (run_leader.h) another step may be computed, but nobody hears of what it samples
// for who was aborted. Callbacks may do so too. step() never waits for work, and run() sleeps where
// there is none.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/engine/job.h"
#include "runtime/engine/queue_bounds.h"

namespace longspan {

enum class Ending {
  kStopped,  // by a token that stops it
  kLength,   // it has all the tokens it may have
  kAborted,
};

/// What became of an answer, or of a turn of a conversation.
struct Finish {
  Ending ending = Ending::kAborted;
  std::int64_t tokens = 0;  // sampled, the one that stopped it included
};

struct EngineRequest {
  std::vector<TokenId> prompt;  // 1 token at least
  std::vector<TokenId> forced;  // in place of what is sampled, from the first on
  Sampling sampling;            // its stops end the answer
  /// 1 at least; none: as many as there is room for, of which memory is promised some at a time.
  std::optional<std::int64_t> max_new = 1;
  int top = 0;             // alternatives to report with each token
  bool wants_nll = false;  // of the prompt
  /// Of several answers to one prompt all but the first name the first: if they can go on when it
  /// has been read, it was read for them too. The same prompt and max_new.
  std::optional<RequestId> like;
  Urgency urgency = Urgency::kInteractive;
  /// Whose it is: tenants that wait take turns, however many requests each has.
  std::string tenant;
  /// By when its first token should be there: it waits the less for that. Nothing is dropped for
  /// being late.
  std::optional<std::chrono::steady_clock::time_point> deadline;
  /// What is computed of prompts is shared with those of the same salt alone.
  std::string cache_salt;
  /// 0, or the most tokens of a conversation: it is kept at the end of the answer, for extend().
  std::int64_t room = 0;

  // Any may be empty.
  std::function<void(const Progress&)> on_prefill;  // a chunk of the prompt is about to be read
  std::function<void(const Scored&)> on_token;      // in order
  std::function<void(double)> on_nll;               // a chunk's part of it
  std::function<void(const Finish&)> on_finished;   // last, and once for each turn
};

/// What an engine does, and what it has done since it was opened.
struct EngineStats {
  std::int64_t waiting = 0;         // requests that have not started, or that wait again
  std::int64_t waiting_tokens = 0;  // of those, to be read
  std::int64_t running = 0;         // that have started, and go on
  std::int64_t held = 0;            // conversations between turns
  std::int64_t kv_pages = 0;        // of all ranks together
  std::int64_t kv_in_use = 0;       // of them: requests have them
  std::int64_t kv_cached = 0;       // nobody has them, and a prompt may find them
  std::int64_t kv_promised = 0;     // to those that have started, for all they can come to need,
                                    // what they share once
  std::int64_t steps = 0;
  std::int64_t plans = 0;          // for them: of a run of steps one
  std::int64_t prompt_tokens = 0;  // read
  std::int64_t hit_tokens = 0;     // of prompts, and not read: they had been, for others
  std::int64_t tokens = 0;         // sampled
  std::int64_t preempted = 0;      // times that requests went back to waiting
  std::int64_t read_again = 0;     // tokens, for that
  /// Pages that were evicted, and that a prompt may find in a tier; bytes of them.
  std::int64_t tier_pages = 0;
  std::int64_t tier_bytes = 0;
  /// Of the hits: tokens whose pages came back from there.
  std::int64_t fetched_tokens = 0;
  /// Where there are several groups: requests whose prompts begin as what one has computed, which
  /// went there, or had copies made of that, or were to read it once more.
  std::int64_t prefixes_joined = 0;
  std::int64_t prefixes_replicated = 0;
  std::int64_t prefixes_recomputed = 0;
  /// Of the hits: tokens whose pages were copied from another group's ranks.
  std::int64_t copied_tokens = 0;
};

/// What memory is set aside for.
struct EngineSetup {
  /// The requests that run at once; those beyond them wait.
  std::vector<RequestShape> shapes;
  /// Whether the room, one for all shapes, gives way to what memory holds of one of them.
  bool room_gives_way = false;
  /// How many requests may wait. Those of a file that is read as it is answered are bounded by
  /// that.
  QueueBounds queue;
  /// If any: hears of each layer of a prefill step as rank 0 does it, on another thread.
  LayerDone layer;
};

class Engine {
 public:
  /// Opens an engine on all ranks, each of which calls this; `setup` is null on all but rank 0,
  /// where `serve` is called, and the engine closes when it returns: what has not finished is
  /// dropped without a word. Returns the ranks' summaries on rank 0. Throws as run_session().
  static std::vector<RankSummary> open(Machine& machine, LoadedModel& model,
                                       const JobOptions& options, const EngineSetup* setup,
                                       const std::function<void(Engine&)>& serve);

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// The room of setup's shapes, or what it gave way to.
  std::int64_t room() const { return room_; }

  /// Queues a request, which starts when its memory is free, or says why not: then `request` is as
  /// it was.
  std::variant<RequestId, Refusal> try_submit(EngineRequest& request);
  /// The same where nothing is to be done about a refusal. Throws it, as UsageError.
  RequestId submit(EngineRequest request);
  /// The next turn of a conversation that is held, whose prompt is all that was said so far: what
  /// it has in common with what was computed is not read again. Its room stays as it is. Throws
  /// UsageError where it is not held or the turn does not fit the room.
  void extend(RequestId conversation, EngineRequest turn);
  /// The request gets no more tokens. A conversation is held with what was computed of it. Throws
  /// UsageError for one that nobody submitted, or that has finished.
  void abort(RequestId id);
  /// Drops a conversation, held or not. Throws as abort().
  void forget(RequestId conversation);

  /// Begins what steps can begin, one of each group, and sleeps until one has ended or somebody has
  /// asked for something while a group idles or is in a run. False when there is nothing to do
  /// until somebody does.
  bool step();
  /// Runs steps until stop(), and sleeps while there are none.
  void run();
  void stop();

  EngineStats stats() const;

  // How conversations leave for files and come from them: between calls of step(), by the thread
  // that makes them, but for holds(). Steps that are under way are waited for.

  /// Whether it is a conversation that is held.
  bool holds(RequestId conversation) const;
  /// What there is to be kept of one that is.
  HeldConversation held(RequestId conversation) const;
  /// As Coordinator::save_pages(), of a conversation that is held.
  std::vector<SessionPart> save_pages(const SavePages& order);
  /// Takes up the conversation of `session` as Coordinator::restore() does: it is held, for
  /// extend(). Nothing where the room does not fit now.
  std::optional<RequestId> restore(const std::string& session, const SessionIndex& index,
                                   std::int64_t room);

 private:
  enum class State { kUnderWay, kHeld };
  /// A request as those who call from outside know it.
  struct Known {
    State state = State::kUnderWay;
    std::int64_t room = 0;
  };
  /// A request as the thread of step() knows it.
  struct Turn {
    EngineRequest request;
    std::int64_t prompt_tokens = 0;
    std::int64_t told = 0;  // of them: read, for the first time
    std::int64_t tokens = 0;
    bool begun = false;    // some of its prompt was read
    bool stopped = false;  // by the last token
    bool leaves = false;   // it was aborted: what steps under way sample is not told
  };

  Engine() = default;
  Coordinator::Listener listener(LayerDone layer);
  [[noreturn]] void refuse(const EngineRequest& request) const;

  void begin(RequestId id, EngineRequest request, std::int64_t max_new);
  void go_on(RequestId id, EngineRequest request);
  void end(RequestId id);
  void drop(RequestId id);
  void heed_calls();
  void note_prefill(Progress chunk);
  void note_token(RequestId id, const Scored& scored);
  void finish(RequestId id, Ending ending);
  void publish();

  /// What somebody asked for, of one request.
  struct Call {
    RequestId request = 0;
    std::function<void()> action;
    bool aborts = false;
  };

  Known& known(RequestId id);
  /// Under the lock, as known() is.
  void call(RequestId request, std::function<void()> action, bool aborts = false);
  void put_off(Call call);

  std::optional<Refusal> refusal_of(const EngineRequest& request, std::int64_t max_new) const;
  std::int64_t longest_answer(const EngineRequest& request) const;

  std::int64_t room_ = 0;
  QueueBounds bounds_;
  Coordinator* coordinator_ = nullptr;  // as long as anybody knows the engine
  // Of the thread of step() alone:
  std::map<RequestId, Turn> turns_;  // under way
  std::vector<Call> put_off_;        // until a step of the request's group has ended
  EngineStats counts_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable called_;
  std::vector<Call> calls_;  // to be heeded before the next step
  std::map<RequestId, Known> known_;
  std::int64_t coming_ = 0;         // requests among the calls
  std::int64_t coming_tokens_ = 0;  // of their prompts
  RequestId next_id_ = 0;
  bool stopping_ = false;
  EngineStats stats_;
};

}  // namespace longspan
