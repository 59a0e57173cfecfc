// Table: rows for people, as wide as their content; on a narrow terminal the columns on the right
// are left out, so that a row stays a line. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quorate::cli {

// Characters of `text`, which is UTF-8; one that takes two places on a terminal counts as one.
size_t CharactersOf(std::string_view text);
// The front of `text` in at most `width` characters, "..." at its end if something is missing.
// Width 0: all of it.
std::string CutTo(std::string_view text, size_t width);

class Table {
 public:
  enum class Align : uint8_t { kLeft, kRight };
  struct Column {
    std::string head;
    Align align = Align::kRight;
    bool cut = false;  // rather shortened than left out: the last column only
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // A row may end early. Cells have no control characters (EscapeBytes).
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Lines of at most `width` characters, 0: of any; the first column is always there.
  std::string Text(size_t width) const;

 private:
  static constexpr size_t kGap = 2;
  static constexpr size_t kCutLeast = 8;  // below, a column that may be cut is left out

  std::string Line(const std::vector<std::string>& cells, const std::vector<size_t>& widths) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace quorate::cli
