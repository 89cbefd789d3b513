#include "runtime/chat/template_loop.h"

#include <utility>

#include "comm/str.h"
#include "runtime/chat/template_arguments.h"
#include "runtime/chat/template_function.h"

namespace longspan {

TemplateLoop::TemplateLoop(std::vector<TemplateValue> items, Condition passes, int depth,
                           std::function<TemplateValue(const TemplateValue&)> again)
    : items_(std::move(items)),
      passes_(std::move(passes)),
      depth_(depth),
      again_(std::move(again)) {}

std::optional<TemplateValue> TemplateLoop::take() {
  while (next_ < items_.size()) {
    const TemplateValue& item = items_[next_++];
    if (!passes_ || passes_(item)) return item;
  }
  return std::nullopt;
}

const std::optional<TemplateValue>& TemplateLoop::after() {
  if (!after_) after_ = take();
  return after_;
}

bool TemplateLoop::advance() {
  std::optional<TemplateValue> next = after_ ? std::exchange(after_, std::nullopt) : take();
  if (!next) return false;
  ++index0_;
  before_ = std::exchange(current_, std::move(next));
  return true;
}

void TemplateLoop::leave() {
  items_.clear();
  next_ = 0;
  passes_ = nullptr;
  again_ = nullptr;
  before_ = current_ = after_ = last_changed_ = std::nullopt;
}

/// Asks the condition of all that is left.
std::int64_t TemplateLoop::length() {
  if (length_) return *length_;
  std::vector<TemplateValue> rest;
  while (auto item = take()) rest.push_back(*item);
  length_ = std::ssize(rest) + index0_ + 1 + (after_ ? 1 : 0);
  items_ = std::move(rest);
  next_ = 0;
  passes_ = nullptr;
  return *length_;
}

TemplateValue TemplateLoop::cycle(const CallArguments& arguments) const {
  if (arguments.positional.empty()) throw TemplateFault("no items for cycling given");
  return arguments.positional[index0_ % std::ssize(arguments.positional)];
}

TemplateValue TemplateLoop::changed(const CallArguments& arguments) {
  TemplateValue now(arguments.positional, true);
  const bool is_new = !last_changed_ || !equal(*last_changed_, now);
  last_changed_ = std::move(now);
  return is_new;
}

std::optional<TemplateValue> TemplateLoop::attribute(const std::string& name) {
  if (name == "index") return index0_ + 1;
  if (name == "index0") return index0_;
  if (name == "first") return index0_ == 0;
  if (name == "last") return !after();
  if (name == "length") return length();
  if (name == "revindex") return length() - index0_;
  if (name == "revindex0") return length() - index0_ - 1;
  if (name == "depth") return std::int64_t{depth_ + 1};
  if (name == "depth0") return std::int64_t{depth_};
  if (name == "previtem") {
    return before_ ? *before_ : TemplateValue(Undefined{"there is no previous item"});
  }
  if (name == "nextitem") {
    return after() ? *after() : TemplateValue(Undefined{"there is no next item"});
  }
  // The function holds the loop, since it may leave the body.
  if (name == "cycle") {
    return template_function(
        [self = shared_from_this()](const CallArguments& given) { return self->cycle(given); });
  }
  if (name == "changed") {
    return template_function(
        [self = shared_from_this()](const CallArguments& given) { return self->changed(given); });
  }
  return std::nullopt;
}

TemplateValue TemplateLoop::call(const CallArguments& arguments) {
  if (!again_)
    throw TemplateFault("The loop must have the 'recursive' marker to be called recursively.");
  return again_(BoundArguments("loop", {"iterable"}, arguments).required(0));
}

}  // namespace longspan
