// EDN, as far as histories use it: nil, booleans, integers, floating-point numbers, strings,
// characters, keywords, symbols, lists, vectors, maps, sets, tagged values, comments, discards.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quorate::history::edn {

struct Position {
  int line = 1;
  int column = 1;  // in bytes
};

struct Value {
  enum class Type : uint8_t {
    kNil,
    kBool,
    kInt,
    kOther,  // a floating-point number, ratio, big number or character, kept as text
    kString,
    kKeyword,  // without its colon
    kSymbol,
    kList,
    kVector,
    kMap,  // items: key, value, key, value ...
    kSet,
  } type = Type::kNil;
  int64_t integer = 0;  // kBool: 0 or 1
  std::string text;
  std::vector<Value> items;
  Position at;

  // A map's value by a keyword; null if there is none.
  const Value* Get(std::string_view keyword) const;
  bool IsKeyword(std::string_view name) const { return type == Type::kKeyword && text == name; }
  bool operator==(const Value& other) const {
    return type == other.type && integer == other.integer && text == other.text &&
           items == other.items;
  }
};

// One line, as any reader of EDN takes it.
std::string Print(const Value& value);

struct Error {
  Position at;
  std::string message;
};

// Reads one value after another from a text that outlives it.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  // The next value; none at the end of the text or after an error (see error()). Tags are dropped,
  // their values kept.
  std::optional<Value> Next();
  // Steps into a list or vector that encloses all the rest, so that Next returns its elements one
  // by one; false if there is none.
  bool EnterSequence();
  const std::optional<Error>& error() const { return error_; }

 private:
  static constexpr int kDepthMax = 64;

  bool AtEnd() const { return at_ >= text_.size(); }
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  void Advance();
  void Fail(Position at, std::string message);
  // To the next value, past blanks, comments, discarded values and tags.
  void SkipToValue(int depth);
  bool ReadValue(int depth, Value* value);
  bool ReadItems(int depth, char close, Value* value);
  bool ReadString(Value* value);
  bool ReadToken(Value* value);

  std::string_view text_;
  size_t at_ = 0;
  Position position_;
  char enclosing_ = '\0';  // what closes the sequence entered
  std::optional<Error> error_;
};

}  // namespace quorate::history::edn
