#include "launch/session_keeper.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "launch/progress.h"
#include "runtime/engine/session_messages.h"
#include "runtime/model/model_digest.h"
#include "runtime/session/session_folder.h"

namespace longspan {
namespace {

/// Long enough for one that is leaving.
constexpr std::chrono::milliseconds kPatience{500};

std::string rope_text(const LayerRopes& ropes) {
  std::string text;
  for (const RopeSpec& spec : ropes.distinct()) {
    text += str("{}{}{}", text.empty() ? "" : "; ", describe(spec),
                spec.float32_angles ? ", angles in float32" : "");
  }
  return text;
}

std::string attention_text(const Approximation& attention) {
  if (attention.is_exact()) return "exact";
  return str("{}: {} first tokens, {} last", name(attention.kind), attention.sink_tokens,
             attention.window_tokens);
}

SessionTerms terms_of(const GenerateOptions& options, const OpenedModel& opened, KvType type) {
  const ModelConfig& config = opened.config;
  return {.model_digest = model_digest(config, opened.file.get()),
          .kv_type = type,
          .rope = rope_text(config.ropes),
          .attention = attention_text(approximation(options.attention)),
          .layers = config.layers,
          .kv_heads = config.heads.kv_heads,
          .head_dim = config.heads.head_dim};
}

}  // namespace

SessionKeeper::SessionKeeper(const GenerateOptions& options, const OpenedModel& opened, KvType type)
    : file_(*options.session),
      lock_(file_.string() + ".lock", file_, kPatience),
      recompute_(options.recompute),
      model_(opened.config.name),
      page_tokens_(*options.page_tokens),
      turned_by_length_(opened.config.ropes.depend_on_length()),
      terms_(terms_of(options, opened, type)) {
  if (!std::filesystem::exists(file_)) return;
  found_ = read_index(file_);
  expect_usable(options);
}

void SessionKeeper::refuse(const std::string& why, const std::string& remedy) const {
  throw UsageError(str("{}: {}; {}, or let --recompute read its {} tokens again", file_.string(),
                       why, remedy, with_thousands(std::ssize(found_->tokens))));
}

void SessionKeeper::expect_usable(const GenerateOptions& options) const {
  if (found_->terms.salt != terms_.salt) {
    throw PermissionError(str("{}: the session is another tenant's", file_.string()));
  }
  expect_same_kind(options);
  if (recompute_) return;
  expect_same_terms(found_->terms);
  expect_parts();
}

void SessionKeeper::expect_same_kind(const GenerateOptions& options) const {
  const std::vector<ChatMessage>& messages = found_->messages;
  if (options.chat.wraps && messages.empty()) {
    throw UsageError(
        str("{}: holds a text and no conversation; go on with longspan generate, "
            "without --chat",
            file_.string()));
  }
  if (!options.chat.wraps && !messages.empty()) {
    throw UsageError(str("{}: holds a conversation; go on with longspan chat, or generate --chat",
                         file_.string()));
  }
  const bool same_system =
      !options.chat.system ||
      (messages.front().role == "system" && messages.front().content == *options.chat.system);
  if (!messages.empty() && !same_system) {
    throw UsageError(
        str("{}: the conversation began with another --system; leave that out, or "
            "name another file",
            file_.string()));
  }
}

void SessionKeeper::expect_same_terms(const SessionTerms& found) const {
  if (found.model_digest != terms_.model_digest) {
    refuse(str("was saved with another model, {}", found_->model), "use that one");
  }
  if (found.kv_type != terms_.kv_type) {
    refuse(str("its keys and values are {}, and those of this run {}", name(found.kv_type),
               name(terms_.kv_type)),
           str("give --kv-dtype {}", name(found.kv_type)));
  }
  if (found.rope != terms_.rope) {
    refuse(str("its keys were turned otherwise ({})", found.rope), "turn them so");
  }
  if (found.attention != terms_.attention) {
    refuse(str("was computed with other attention ({})", found.attention), "ask for that");
  }
  if (has_scales(found.kv_type) && found_->page_tokens != page_tokens_) {
    refuse(str("its keys and values were rounded in pages of {} tokens, and this run has pages of "
               "{}",
               found_->page_tokens, page_tokens_),
           str("give --page-tokens {}", found_->page_tokens));
  }
}

std::int64_t SessionKeeper::room_for(std::int64_t tokens) const {
  const bool goes_on = turned_by_length_ && found_ && !recompute_;
  return goes_on ? std::max(tokens, found_->terms.rope_length) : tokens;
}

void SessionKeeper::expect_parts() const {
  const std::vector<std::filesystem::path> missing = missing_parts(file_, *found_);
  if (missing.empty()) return;
  throw MissingInput(
      str("{}: its keys and values are gone: {} is missing; put it back, or let --recompute read "
          "its {} tokens again",
          file_.string(), missing.front().string(), with_thousands(std::ssize(found_->tokens))));
}

/// What is about files is a failure of the session; of the job is what is about ranks.
bool SessionKeeper::attempt(const std::function<void()>& tried) {
  try {
    tried();
    return true;
  } catch (const CommError&) {
    throw;
  } catch (const Error& error) {
    failure_ = Failure{error.code(), error.what()};
    return false;
  }
}

std::optional<RequestId> SessionKeeper::take_up(Engine& engine, std::int64_t room) {
  if (!found_ || recompute_ || found_->computed == 0) return std::nullopt;
  std::optional<RequestId> conversation;
  attempt([&] {
    const std::int64_t turned_for = found_->terms.rope_length;
    if (turned_by_length_ && turned_for != room) {
      refuse(str("its keys were turned for a length of {} tokens, and this run is for {}",
                 turned_for, room),
             str("go on within that length (of chat: --max-model-len {})", turned_for));
    }
    conversation = engine.restore(file_.string(), *found_, room);
    if (conversation) return;
    throw UsageError(str("{}: holds {} tokens, and there is room for {} (--max-model-len)",
                         file_.string(), with_thousands(std::ssize(found_->tokens)),
                         with_thousands(room)));
  });
  return conversation;
}

bool SessionKeeper::save(Engine& engine, RequestId conversation, const SessionText& text) {
  return attempt([&] { save_as(engine, conversation, text, file_); });
}

bool SessionKeeper::fork(Engine& engine, RequestId conversation, const SessionText& text,
                         const std::string& name) {
  return attempt([&] {
    const std::filesystem::path file = file_.parent_path() / name;
    if (std::filesystem::exists(file)) {
      throw UsageError(str("{} is there already; give the fork another name", file.string()));
    }
    save_as(engine, conversation, text, file);
  });
}

/// How much of what is computed can be saved of the first `tokens`: what was rounded as a page
/// stays whole, or is read again.
std::int64_t SessionKeeper::kept(std::int64_t computed, std::int64_t tokens) const {
  if (computed <= tokens) return computed;
  const bool cuts_full_page = tokens / page_tokens_ != computed / page_tokens_;
  return has_scales(terms_.kv_type) && cuts_full_page ? tokens / page_tokens_ * page_tokens_
                                                      : tokens;
}

void SessionKeeper::save_as(Engine& engine, RequestId conversation, const SessionText& text,
                            const std::filesystem::path& file) {
  HeldConversation held = engine.held(conversation);
  if (text.length) held.tokens.resize(std::min<std::size_t>(*text.length, held.tokens.size()));
  SessionIndex index{.generation = new_generation(),
                     .saved_at = std::time(nullptr),
                     .model = model_,
                     .terms = terms_,
                     .page_tokens = page_tokens_,
                     .tokens = std::move(held.tokens),
                     .messages = text.messages};
  index.computed = kept(held.computed, std::ssize(index.tokens));
  if (turned_by_length_) index.terms.rope_length = held.room;
  try {
    index.parts = engine.save_pages({.request = conversation,
                                     .session = file.string(),
                                     .generation = index.generation,
                                     .computed = index.computed,
                                     .kv_heads = terms_.kv_heads});
    commit_session(file, index);
  } catch (...) {
    drop_generation(file, index.generation);
    throw;
  }
  said_ = str("{} tokens to {} ({})", with_thousands(std::ssize(index.tokens)), file.string(),
              human_bytes(static_cast<std::int64_t>(index.part_bytes())));
}

}  // namespace longspan
