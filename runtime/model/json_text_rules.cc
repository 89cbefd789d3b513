#include "runtime/model/json_text_rules.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "comm/str.h"
#include "runtime/model/byte_alphabet.h"
#include "runtime/model/printable.h"
#include "runtime/model/vocabulary.h"

namespace longspan {
namespace {

// Bound what a file can make of a text: of one component, of all replacements, and around it.
constexpr std::size_t kLongestText = 64;
constexpr std::size_t kMostGrowth = 64;
constexpr std::size_t kMostBorder = 64;
constexpr std::size_t kMostComponents = 16;

/// The components of `key`, those of a Sequence one by one: none when it is absent or null.
std::vector<JsonView> components(const JsonView& root, std::string_view key,
                                 std::string_view list_key) {
  const auto component = root.find(key);
  if (!component) return {};
  if (component->at("type").text() != "Sequence") return {*component};
  std::vector<JsonView> all;
  const JsonView list = component->at(list_key);
  if (list.elements() > kMostComponents) {
    list.fail(str("has {} elements; {} are possible", list.elements(), kMostComponents));
  }
  for (std::size_t i = 0; i < list.elements(); ++i) all.push_back(list.element(i));
  return all;
}

std::string_view type_of(const JsonView& component) { return component.at("type").text(); }

[[noreturn]] void refuse(const JsonView& component, std::string_view known) {
  component.at("type").fail(
      str("is '{}'; longspan knows: {}", printable(type_of(component)), known));
}

std::string short_text(const JsonView& value) {
  const std::string& text = value.text();
  if (text.size() <= kLongestText) return text;
  value.fail(str("has {} bytes; {} are possible", text.size(), kLongestText));
}

/// `growth`: how many times as long the replacements so far can make a text.
ReplaceText read_replace(const JsonView& component, std::size_t& growth) {
  const JsonView pattern = component.at("pattern");
  if (!pattern.find("String")) pattern.fail("is no String; longspan replaces plain text only");
  ReplaceText replace{short_text(pattern.at("String")), short_text(component.at("content"))};
  if (replace.from.empty()) pattern.fail("is empty");
  growth *=
      std::max<std::size_t>(1, (replace.to.size() + replace.from.size() - 1) / replace.from.size());
  if (growth > kMostGrowth) {
    component.fail(str("can make a text {} times as long; {} is possible", growth, kMostGrowth));
  }
  return replace;
}

bool replaces_spaces(const TextNormalizer& normalizer) {
  return std::ranges::any_of(normalizer.steps(), [](const TextNormalizer::Step& step) {
    const auto* replace = std::get_if<ReplaceText>(&step);
    return replace && replace->from == " " && replace->to.find(' ') == std::string::npos;
  });
}

void require_byte_level(const JsonView& component, bool with_expression) {
  if (component.flag_or("add_prefix_space", true)) {
    component.fail("sets add_prefix_space, which longspan does not do");
  }
  if (component.flag_or("use_regex", true) != with_expression) {
    component.fail(with_expression ? "cuts no words: use_regex is false"
                                   : "cuts words a second time: use_regex is true");
  }
}

WordMarks read_metaspace(const JsonView& component) {
  if (component.at("replacement").text() != kWordMark) {
    component.at("replacement").fail(str("is not '{}'", printable(kWordMark)));
  }
  WordMarks marks{.split = component.flag_or("split", true)};
  const auto scheme = component.find("prepend_scheme");
  // Files from before there were schemes.
  const std::string name = scheme                                        ? scheme->text()
                           : component.flag_or("add_prefix_space", true) ? "always"
                                                                         : "never";
  if (name == "always") {
    marks.first = WordMarks::First::kAlways;
  } else if (name == "first") {
    marks.first = WordMarks::First::kAtBegin;
  } else if (name != "never") {
    component.fail(
        str("has the prepend_scheme '{}'; longspan knows: always, first, never", printable(name)));
  }
  return marks;
}

PieceRule read_split(const JsonView& component) {
  const JsonView pattern = component.at("pattern");
  const auto expression = pattern.find("Regex");
  if (!expression) pattern.fail("is no Regex");
  const auto rule = find_split_rule(expression->text());
  if (!rule) {
    expression->fail(
        str("is '{}', an expression of no family that longspan knows (Llama 3, Qwen 2, "
            "tekken)",
            printable(expression->text())));
  }
  // No expression leaves anything out, so both mean: each match is a piece.
  const std::string& behavior = component.at("behavior").text();
  const bool inverted = component.flag_or("invert", false);
  if ((behavior == "Isolated" && !inverted) || (behavior == "Removed" && inverted)) return *rule;
  component.at("behavior").fail(str("is '{}'; longspan knows Isolated", printable(behavior)));
}

/// Gemma's: cuts at spaces, of which its normaliser leaves none.
bool is_idle_split(const JsonView& component, const TextNormalizer& normalizer) {
  const auto pattern = component.at("pattern").find("String");
  return pattern && pattern->text() == " " && replaces_spaces(normalizer);
}

PieceRule read_digits(const JsonView& component) {
  if (!component.flag_or("individual_digits", false)) {
    component.fail("keeps digits together; longspan knows individual_digits only");
  }
  return PieceRule::kSmolLm;
}

std::vector<TokenId> read_template_ids(const JsonView& tokens, std::string_view name,
                                       const JsonVocabulary& vocabulary) {
  const JsonView ids = tokens.at(name).at("ids");
  std::vector<TokenId> all;
  for (std::size_t i = 0; i < ids.elements(); ++i) {
    const std::int64_t id = ids.element(i).integer();
    if (id < 0 || id >= vocabulary.size()) {
      ids.element(i).fail(
          str("is {}, outside the {} tokens: download the file again", id, vocabulary.size()));
    }
    all.push_back(static_cast<TokenId>(id));
  }
  return all;
}

JsonBorders read_template(const JsonView& component, const JsonVocabulary& vocabulary) {
  JsonBorders borders;
  const JsonView single = component.at("single");
  bool after_text = false;
  for (std::size_t i = 0; i < single.elements(); ++i) {
    const JsonView piece = single.element(i);
    if (piece.find("Sequence")) {
      if (after_text) piece.fail("puts the text in a second time");
      after_text = true;
      continue;
    }
    const auto ids = read_template_ids(component.at("special_tokens"),
                                       piece.at("SpecialToken").at("id").text(), vocabulary);
    auto& border = after_text ? borders.after : borders.before;
    border.insert(border.end(), ids.begin(), ids.end());
    if (border.size() > kMostBorder) {
      piece.fail(str("puts {} tokens beside a text; {} are possible", border.size(), kMostBorder));
    }
  }
  if (!after_text) single.fail("leaves the text out");
  return borders;
}

void read_strip(const JsonView& component, JsonDecoder& decoder) {
  if (component.at("content").text() != " " || component.at("start").integer() > 1 ||
      component.at("stop").integer() != 0) {
    component.fail("strips more than the first space, which longspan does not do");
  }
  decoder.drops_first_space = component.at("start").integer() == 1;
}

}  // namespace

TextNormalizer read_normalizer(const JsonView& root) {
  std::vector<TextNormalizer::Step> steps;
  std::size_t growth = 1;
  for (const JsonView& component : components(root, "normalizer", "normalizers")) {
    const std::string_view type = type_of(component);
    if (type == "NFC") {
      steps.emplace_back(ComposeText{});
    } else if (type == "Prepend") {
      steps.emplace_back(PrependText{short_text(component.at("prepend"))});
    } else if (type == "Replace") {
      steps.emplace_back(read_replace(component, growth));
    } else {
      refuse(component, "NFC, Prepend, Replace, Sequence");
    }
  }
  return TextNormalizer(std::move(steps));
}

JsonPieces read_pieces(const JsonView& root, const TextNormalizer& normalizer) {
  JsonPieces pieces;
  const auto all = components(root, "pre_tokenizer", "pretokenizers");
  for (const JsonView& component : all) {
    const std::string_view type = type_of(component);
    const bool last = &component == &all.back();
    if (pieces.unit == Letters::Unit::kByte || pieces.word_marks) {
      component.fail(str("is a {} after the last step that longspan knows", printable(type)));
    }
    if (type == "ByteLevel") {
      pieces.unit = Letters::Unit::kByte;
      // After Split() everything is cut; Digits() only takes digits out.
      const bool cut = pieces.rule && pieces.rule != PieceRule::kSmolLm;
      if (!pieces.rule && !component.flag_or("use_regex", true)) continue;
      require_byte_level(component, !cut);
      if (!pieces.rule) pieces.rule = PieceRule::kGpt2;
    } else if (type == "Metaspace" && !pieces.rule) {
      pieces.word_marks = read_metaspace(component);
    } else if (type == "Digits" && !pieces.rule && !last) {
      pieces.rule = read_digits(component);
    } else if (type == "Split" && is_idle_split(component, normalizer)) {
      continue;
    } else if (type == "Split" && !pieces.rule && !last) {
      pieces.rule = read_split(component);
    } else {
      refuse(component,
             "ByteLevel, Digits or Split and then ByteLevel, Metaspace, Split at spaces that the "
             "normalizer replaces");
    }
  }
  if (pieces.rule && pieces.unit == Letters::Unit::kCharacter) {
    root.at("pre_tokenizer").fail("cuts words, but no ByteLevel follows");
  }
  return pieces;
}

JsonBorders read_borders(const JsonView& root, const JsonVocabulary& vocabulary) {
  std::optional<JsonBorders> borders;
  for (const JsonView& component : components(root, "post_processor", "processors")) {
    const std::string_view type = type_of(component);
    if (type == "TemplateProcessing" && !borders) {
      borders = read_template(component, vocabulary);
    } else if (type != "ByteLevel") {  // that one only changes offsets
      refuse(component, "ByteLevel, Sequence, TemplateProcessing once");
    }
  }
  return borders.value_or(JsonBorders{});
}

JsonDecoder read_decoder(const JsonView& root) {
  JsonDecoder decoder;
  bool fused = false;
  std::size_t growth = 1;
  const auto all = components(root, "decoder", "decoders");
  if (all.empty()) root.at("decoder").fail("is empty: tokens would not become text");
  for (const JsonView& component : all) {
    const std::string_view type = type_of(component);
    if (type == "ByteLevel" && all.size() == 1) {
      decoder.byte_level = true;
    } else if (type == "Replace" && !decoder.byte_fallback && !fused) {
      decoder.replacements.push_back(read_replace(component, growth));
    } else if (type == "ByteFallback" && !decoder.byte_fallback && !fused) {
      decoder.byte_fallback = true;
    } else if (type == "Fuse" && !fused) {
      fused = true;
    } else if (type == "Strip" && fused) {
      read_strip(component, decoder);
    } else {
      refuse(component, "ByteLevel, or Replace, ByteFallback, Fuse and Strip in that order");
    }
  }
  return decoder;
}

std::string JsonDecoder::bytes_of_token(std::string_view written, bool added) const {
  if (byte_level)
    return added ? std::string(written) : bytes_of(written).value_or(std::string(written));
  std::string text(written);
  for (const ReplaceText& replace : replacements) text = replaced(text, replace.from, replace.to);
  const auto byte = byte_fallback ? find_written_byte(text) : std::nullopt;
  return byte ? std::string(1, static_cast<char>(*byte)) : text;
}

}  // namespace longspan
