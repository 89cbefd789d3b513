// What the comparison with jinja2 (tests/oracles/chat_template_oracle.py) does not reach: limits,
// errors and what is left out; and the language in small, against what jinja2 3.1.6 writes.
#include "runtime/chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using testing::HasSubstr;

std::string rendered(const std::string& source, const TemplateDict& variables = {}) {
  return ChatTemplate(source, "t").render(variables, 0);
}

std::string refusal(const std::string& source, const TemplateDict& variables = {}) {
  try {
    rendered(source, variables);
  } catch (const DataError& error) {
    return error.what();
  }
  return "(accepted)";
}

struct Case {
  const char* source;
  const char* text;
};

TEST(ChatTemplateTest, WhiteSpaceIsCutAsJinjaCutsIt) {
  for (const auto& [source, text] :
       std::vector<Case>{{"", ""},
                         {"\n", ""},
                         {"a\n", "a"},
                         {"a\n\n", "a\n"},
                         {"a\r\nb\rc", "a\nb\nc"},
                         {"{% if true %}\na\n{% endif %}\nb", "a\nb"},
                         {"{% if true +%}\na\n{%+ endif %}\nb", "\na\nb"},
                         {"  {% if true %}a{% endif %}  ", "a  "},
                         {"x  {% if true %}a{% endif %}", "x  a"},
                         {"\n  {% if true %}a{% endif %}", "\na"},
                         {"  {%+ if true %}a{% endif %}", "  a"},
                         {"a \n {%- if true -%} \n b \n {%- endif -%} \n c", "abc"},
                         {"  {{ 1 }}  \n", "  1  "},
                         {"a {{- 1 -}} b", "a1b"},
                         {"{{ 1 }}\n  {% if true %}x{% endif %}", "1\nx"},
                         {"{% if true %}\n  {% if true %}x{% endif %}{% endif %}", "x"},
                         {"{{ 1 }}  {% if true %}x{% endif %}", "1  x"},
                         {"  {# c #}\nb", "b"},
                         {"a {#- c -#} b", "ab"},
                         {"a{#- #}\n b", "a b"},
                         {"{#-#}  a", "  a"},
                         {"{ {% if true %}{ {% endif %}", "{ { "},
                         {"{{ '{%' }}%}", "{%%}"},
                         {"\xc2\xa0{%- if true %}x{% endif %}", "x"},
                         {"{{ {'a': {'b': 1}}['a'] }}", "{'b': 1}"}}) {
    EXPECT_EQ(rendered(source), text) << source;
  }
}

TEST(ChatTemplateTest, ScopesAreWhereJinjaHasThem) {
  for (const auto& [source, text] : std::vector<Case>{
           {"{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = i + 1 %}{{ x }} {% endfor %}{{ "
            "x }}",
            "12 13 1"},
           {"{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "2"},
           {"{% set n = namespace(x=1) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor "
            "%}{{ n.x }}",
            "4"},
           {"{% macro m(a, b=a) %}{{ a }}{{ b }}{{ x }}{% endmacro %}{% set x = 3 %}{{ m(1) }}{{ "
            "m(1, b=2) }}",
            "113123"},
           {"{% macro m() %}[{{ caller(2) }}]{% endmacro %}{% call(y) m() %}{{ y }}{% endcall %}",
            "[2]"},
           {"{% for x in [] %}{% else %}none{% endfor %}", "none"},
           {"{% for x in [1, 2, 3] if x != 2 %}{{ x }}{{ loop.length }}{% endfor %}", "1232"},
           {"{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% "
            "break %}"
            "{% endif %}{{ x }}{% endfor %}",
            "13"},
           {"{% with x = 1 %}{{ x }}{% endwith %}{{ x }}", "1"},
           {"{% for x in range(3) %}{{ loop.cycle('a', 'b') }}{% endfor %}", "aba"},
           {"{% set n = namespace(go=true) %}{% for x in [1, 2, 3] if n.go %}{{ x }}"
            "{% if x == 2 %}{% set n.go = false %}{% endif %}{% endfor %}",
            "12"}}) {
    EXPECT_EQ(rendered(source), text) << source;
  }
}

TEST(ChatTemplateTest, ErrorsNameTheLine) {
  for (const auto& [source, message] : std::vector<Case>{
           {"a\n{{ raise_exception('no such role') }}", "t, line 2, refuses: no such role"},
           {"a\n\n{% if x %}", "t, line 3: unexpected end of template"},
           {"{{ x.y }}", "t, line 1: 'x' is undefined"},
           {"\n{{ {}.y.z }}", "t, line 2: 'dict object' has no attribute 'y'"},
           {"{{ [1][3].x }}", "list object has no element 3"},
           {"{{ none.x.y }}", "'None' has no attribute 'x'"},
           {"{{ 1 + 'a' }}", "unsupported operand type(s) for +: 'int' and 'str'"},
           {"{{ 1 < 'a' }}", "'<' not supported"},
           {"{{ 1 / 0 }}", "division by zero"},
           {"{{ x() }}", "'x' is undefined"},
           {"{{ 'a'() }}", "'str' object is not callable"},
           {"{% for a in none %}{% endfor %}", "'NoneType' object is not iterable"},
           {"{% for a, b in [[1]] %}{% endfor %}",
            "not enough values to unpack (expected 2, got 1)"},
           {"{{ [].append(1) }}", "access to attribute 'append' of 'list' object is unsafe."},
           {"{% set x = {} %}{% set x.y = 1 %}", "cannot assign attribute on non-namespace object"},
           {"{{ x | tojson }}", "Object of type Undefined is not JSON serializable"},
           {"{{ x | nofilter }}", "No filter named 'nofilter'."},
           {"{{ x is notest }}", "No test named 'notest'."},
           {"{% nonsense %}", "unknown tag 'nonsense'"},
           {"{% endif %}", "unknown tag 'endif'"},
           {"{% include 'x' %}", "no 'include'"},
           {"{% extends 'x' %}", "no 'extends'"},
           {"{% block x %}{% endblock %}", "no 'block'"},
           {"{% raw %}{% endraw %}", "no 'raw'"},
           {"{% break %}", "break and continue stand in loops only"},
           {"{{ 1", "unexpected end of template"},
           {"{{ 'abc }}", "a string that does not end"},
           {"{# abc", "Missing end of comment tag"},
           {"{{ (1] }}", "unexpected ']', expected ')'"},
           {"{{ 1 2 }}", "expected '}}', got '2'"},
           {"{{ }}", "unexpected '}}'"},
           {"{% if %}{% endif %}", "unexpected '%}'"},
           {"{{ a ! b }}", "unexpected char '!'"},
           {"{{ f(a=1, 2) }}", "invalid syntax for function call"},
           {"{{ 99999999999999999999 }}", "too large"},
           {"\xff", "not UTF-8 at byte 0"}}) {
    EXPECT_THAT(refusal(source), HasSubstr(message)) << source;
  }
}

TEST(ChatTemplateTest, EveryLoopEndsAtItsLimit) {
  const std::string forever =
      "{% macro m(n) %}{% for i in range(99999) %}{{ m(n) }}{% endfor %}{% endmacro %}";
  EXPECT_THAT(
      refusal("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
      HasSubstr("takes more than 1000000 steps"));
  EXPECT_THAT(refusal(forever + "{{ m(1) }}"), HasSubstr("steps"));
  EXPECT_THAT(refusal("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("levels deep"));
  EXPECT_THAT(refusal("{{ range(10 ** 9) }}"), HasSubstr("Range too big"));
  EXPECT_THAT(refusal("{% for x in [[[1]]] recursive %}{{ loop([x]) }}{% endfor %}"),
              HasSubstr("levels deep"));
}

TEST(ChatTemplateTest, NoTextGrowsBeyondItsLimit) {
  EXPECT_THAT(refusal("{{ 'a' * 10 ** 15 }}"), HasSubstr("more than 4194304 bytes"));
  EXPECT_THAT(refusal("{{ [0] * 10 ** 15 }}"), HasSubstr("more than"));
  EXPECT_THAT(refusal("{% set n = namespace(x='ab') %}{% for i in range(99) %}"
                      "{% set n.x = n.x ~ n.x %}{% endfor %}"),
              HasSubstr("bytes"));
  EXPECT_THAT(refusal("{% set n = namespace(x=[1]) %}{% for i in range(99) %}"
                      "{% set n.x = n.x + n.x %}{% endfor %}"),
              HasSubstr("steps"));
  EXPECT_THAT(refusal("{% set x = 'a' * 4000000 %}{{ x }}{{ x }}"), HasSubstr("bytes"));
  EXPECT_THAT(refusal("{{ ('a' * 4000000) | replace('a', 'bb') }}"), HasSubstr("bytes"));
  EXPECT_THAT(refusal("{{ (['a' * 1000] * 9999) | join }}"), HasSubstr("bytes"));
  EXPECT_THAT(refusal("{% set n = namespace(x=[1]) %}{% for i in range(60) %}"
                      "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}"),
              HasSubstr("holds too much"));
  EXPECT_THAT(refusal("{{ ('a' * 4000000).rfind('b' * 2000000 ~ 'a') }}"), HasSubstr("steps"));
  EXPECT_EQ(rendered("{{ ('a' * 4000000).find('a' * 2000000 ~ 'b') }}"), "-1");
  EXPECT_EQ(rendered("{{ ('a' * 2000000).strip('b' * 2000000 ~ 'a') }}"), "");
  EXPECT_EQ(rendered("{{ 'a' * 4194304 }}").size(), 4194304u);
}

TEST(ChatTemplateTest, NothingIsNestedUntilTheStackEnds) {
  const auto repeated = [](const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
  };
  for (int times : {1000, 100'000}) {
    EXPECT_THAT(refusal("{{ " + repeated("(", times) + "1" + repeated(")", times) + " }}"),
                HasSubstr("nested more than"));
    EXPECT_THAT(refusal("{{ " + repeated("-", times) + "1 }}"), HasSubstr("nested more than"));
    EXPECT_THAT(refusal("{{ " + repeated("not ", times) + "1 }}"), HasSubstr("nested more than"));
    EXPECT_THAT(refusal("{{ 1" + repeated("+1", times) + " }}"), HasSubstr("nested more than"));
    EXPECT_THAT(refusal("{{ x" + repeated(".x", times) + " }}"), HasSubstr("nested more than"));
    EXPECT_THAT(refusal("{{ x" + repeated("|trim", times) + " }}"), HasSubstr("nested more than"));
  }
  EXPECT_THAT(refusal(repeated("{% if 1 %}", 1000)), HasSubstr("nested more than"));
  EXPECT_EQ(rendered("{{ 1" + repeated("+1", 99) + " }}"), "100");
  EXPECT_THAT(refusal("{% set n = namespace(x=[]) %}{% for i in range(9999) %}"
                      "{% set n.x = [n.x] %}{% endfor %}"),
              HasSubstr("more than 200 deep"));
}

TEST(ChatTemplateTest, WhatHoldsItselfIsLetGo) {  // AddressSanitizer looks for leaks
  EXPECT_EQ(
      rendered("{% set n = namespace() %}{% set n.n = n %}{% for i in [1] %}{% set n.l = loop %}"
               "{% macro m() %}{% endmacro %}{% set n.m = m %}{% endfor %}{{ n.l.index }}"),
      "1");
  EXPECT_THAT(refusal("{% set n = namespace() %}{% for i in [1] %}{% macro m() %}{% endmacro %}"
                      "{% set n.m = m %}{% endfor %}{{ n.m() }}"),
              HasSubstr("outside of where it was defined"));
  EXPECT_THAT(refusal("{% set n = namespace() %}{% for i in [[1]] recursive %}{% set n.l = loop %}"
                      "{% endfor %}{{ n.l([1]) }}"),
              HasSubstr("recursive"));
}

TEST(ChatTemplateTest, TheClockIsTheCallers) {
  ::setenv("TZ", "UTC", 1);
  EXPECT_EQ(ChatTemplate("{{ strftime_now('%Y-%m-%d') }}", "t").render({}, 86'400), "1970-01-02");
}

TEST(ChatTemplateTest, AConversationIsWhatTransformersHandsOver) {
  TemplateDict variables = chat_variables({{"system", "Be brief."}, {"user", "Hi"}});
  variables.set("bos_token", "<s>");
  EXPECT_EQ(
      rendered(
          "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m['content'] }}\n{% endfor %}"
          "{% if add_generation_prompt %}assistant:{% endif %}{{ tools is none }}",
          variables),
      "<s>system: Be brief.\nuser: Hi\nassistant:True");
}

}  // namespace
}  // namespace longspan
